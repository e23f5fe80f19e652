"""What happened to an agent lately: every episode is a durable row first, and Redis has a copy of the newest."""
