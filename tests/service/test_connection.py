"""Connections over a Temporal client of the user."""

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from tertulia import ConfigurationError, Tertulia
from tertulia.devstack.stack import Stack


async def test_client_with_default_converter_is_refused(stack: Stack) -> None:
    client = await Client.connect(stack.configuration.temporal_address)
    with pytest.raises(ConfigurationError, match=r"default data converter.*TertuliaClientPlugin"):
        async with Tertulia.connect(stack.configuration, temporal_client=client):
            raise AssertionError("connected")


async def test_client_with_pydantic_converter_is_used(stack: Stack) -> None:
    client = await Client.connect(stack.configuration.temporal_address, data_converter=pydantic_data_converter)
    async with Tertulia.connect(stack.configuration, temporal_client=client) as tertulia:
        assert await tertulia.agents.list(limit=1) is not None
