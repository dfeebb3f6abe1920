"""Prepare a stack's database: migrations and the local API key, before workers and API start."""

from tertulia.devstack.local_key import local_key
from tertulia.devstack.stack import Stack
from tertulia.store.migrate import upgrade_async


async def migrate_and_create_key(stack: Stack) -> None:
    """Migrate the stack's database and, for a stack with an API, make sure that its local key exists."""
    configuration = stack.configuration
    await upgrade_async(configuration.database_url)
    if stack.options.api_port is not None:
        await local_key(configuration.database_url, configuration.data_folder)
