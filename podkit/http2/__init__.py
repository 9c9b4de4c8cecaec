"""HTTP/2 (RFC 9113): connections, frames, header blocks, streams, answers."""
