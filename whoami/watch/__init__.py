"""``whoami watch URL``: ask again and again, and tell which pod answered."""
