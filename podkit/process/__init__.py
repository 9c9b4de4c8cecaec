"""A program's life: settings, listening, workers, draining, health checks."""
