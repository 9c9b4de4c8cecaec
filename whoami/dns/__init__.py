"""``whoami dns NAME``: shows which addresses a name has, and which one this client uses."""
