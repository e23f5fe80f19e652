"""What happened lately: episodes of an agent, recent ones served from Redis, all of them kept in the durable store."""
