"""HTTP/1.1: one connection, its heads, its bodies, its answers."""
