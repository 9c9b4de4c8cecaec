"""The PROXY protocol: a TCP load balancer announces the client before the client's first byte."""
