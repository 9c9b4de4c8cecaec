"""``whoami watch URL``: sends requests and shows which pod answered each."""
