"""Alembic revisions; run by `agentstate.store.migrate`."""
