"""What the server knows about its pod."""
