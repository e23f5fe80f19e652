"""Bets through real Celery workers that are killed at random, with Redis emptied on the way: none twice, none lost."""
