"""TLS on pyOpenSSL, and the certificates that it needs."""
