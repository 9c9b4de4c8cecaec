"""TLS on pyOpenSSL, and its certificates."""
