"""The HTTP path to the services: one connection pool, shared limits and breakers, strict reading of failures."""
