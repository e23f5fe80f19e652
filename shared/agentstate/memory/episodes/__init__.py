"""Recent events of an agent: every episode is a durable row first, and Redis has a copy of the newest."""
