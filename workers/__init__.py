"""Start, stop and health checks of worker processes, beat and Flower. `python -m workers --help`."""
