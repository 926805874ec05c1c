"""Alembic's entry: migrates the connection that the hub, or a developer's revision, opened."""

from alembic import context

from inspection.hub import loop_tables
from inspection.hub.tables import metadata

ALL = metadata, loop_tables  # both modules make tables in one metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
