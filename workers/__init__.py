"""How worker processes, beat and Flower start, stop and show that they are well. `python -m workers --help`."""
