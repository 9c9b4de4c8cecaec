"""HTTP/1.1: connections, request heads, bodies, answers."""
