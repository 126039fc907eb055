"""Runs migrations on the connection that `app.migrate` hands over; never opens one of its own."""

from alembic import context

from app.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=False,
    include_object=lambda _object, name, kind, *_: (
        not (kind == "table" and name.startswith("procrastinate_"))
    ),
)
with context.begin_transaction():
    context.run_migrations()
