"""Alembic's entry: runs the revisions on the connection that `agentstate.store.migrate` hands in."""

from alembic import context

from agentstate.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
)
context.run_migrations()
