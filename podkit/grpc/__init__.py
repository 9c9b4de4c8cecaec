"""gRPC calls over HTTP/2, with health checks and reflection."""
