"""What alembic runs: the revisions, on the connection and in the transaction of `migrations._migrate`."""

from alembic import context

from personalgen.catalogue.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
