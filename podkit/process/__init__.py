"""A program's lifecycle: settings, listening, workers, draining, health checks."""
