"""Every point at which a process that spends money can die, tried one by one: `python -m tests.chaos.money`."""
