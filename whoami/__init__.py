"""whoami: shows what it knows about itself, and the request as received."""
