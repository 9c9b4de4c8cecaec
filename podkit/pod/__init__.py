"""What the server knows of the pod that it runs in."""
