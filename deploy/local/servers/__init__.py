"""The servers of the one-machine stack: Postgres, Redis, and the Qdrant engine behind REST routes."""
