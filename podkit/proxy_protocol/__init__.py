"""The PROXY protocol: what a balancer of connections says of the client, before the client's first byte."""
