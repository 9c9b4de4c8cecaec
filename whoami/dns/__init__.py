"""``whoami dns NAME``: which addresses a name has, and which of them this client takes."""
