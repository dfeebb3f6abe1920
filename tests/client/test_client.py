"""Connecting to a database without migrations is an error that names the remedy."""

import psycopg
import pytest

from tertulia.configuration import Configuration
from tertulia.core.errors import Unavailable
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient


async def test_connect_unmigrated_names_migrate(stack: Stack) -> None:
    url = stack.configuration.database_url
    async with await psycopg.AsyncConnection.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        await connection.execute("create database empty")
    environment = stack.environment | {"DATABASE_URL": url.replace("/tertulia?", "/empty?")}
    with pytest.raises(Unavailable, match="tertulia migrate"):
        async with DirectClient.open(Configuration.from_environment(environment)) as client:
            await client.conversations.list()
