"""whoami: echoes what it knows of itself, and the request as it arrived."""
