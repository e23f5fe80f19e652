"""Memories under `kill -9`: worker, index, Redis and Postgres die at random while agents remember; nothing is lost."""
