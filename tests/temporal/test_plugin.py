"""Data converters that a client may have, and those that the plugin refuses."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.plugin import SimplePlugin
from temporalio.worker import Replayer

from tertulia.core.errors import ConfigurationError
from tertulia.temporal.encryption import data_converter
from tertulia.temporal.plugin import TertuliaClientPlugin, check_data_converter
from tertulia.workflows.plugin import TertuliaPlugin

KEYS = {"a": bytes(range(32))}
OTHER_KEYS = {"a": bytes(range(1, 33))}


class ForeignCodec(PayloadCodec):
    """A codec that changes nothing."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


FOREIGN = replace(pydantic_data_converter, payload_codec=ForeignCodec())


async def lazy_client(converter: DataConverter = DataConverter.default, *plugins: SimplePlugin) -> Client:
    return await Client.connect("localhost:1", lazy=True, data_converter=converter, plugins=plugins)


@pytest.mark.parametrize("converter", [DataConverter.default, DataConverter(), pydantic_data_converter])
@pytest.mark.parametrize("keys", [{}, KEYS])
async def test_plugin_replaces_a_stock_converter(converter: DataConverter, keys: dict[str, bytes]) -> None:
    client = await lazy_client(converter, TertuliaClientPlugin(keys))
    check_data_converter(client, keys)


async def test_plugin_accepts_its_own_converter() -> None:
    client = await lazy_client(data_converter(KEYS), TertuliaClientPlugin(KEYS), TertuliaPlugin(KEYS))
    check_data_converter(client, KEYS)


@pytest.mark.parametrize(
    ("converter", "message"),
    [(FOREIGN, "data converter of its own.*second client"), (data_converter(OTHER_KEYS), "other encryption keys")],
)
async def test_plugin_refuses_another_converter(converter: DataConverter, message: str) -> None:
    for plugin in (TertuliaClientPlugin(KEYS), TertuliaPlugin(KEYS)):
        with pytest.raises(ConfigurationError, match=message):
            await lazy_client(converter, plugin)
    with pytest.raises(ConfigurationError, match=message):
        Replayer(workflows=[], data_converter=converter, plugins=[TertuliaPlugin(KEYS)])


@pytest.mark.parametrize(
    ("converter", "keys", "message"),
    [
        (DataConverter.default, {}, "default data converter.*TertuliaClientPlugin"),
        (pydantic_data_converter, KEYS, "TERTULIA_ENCRYPTION_KEYS is set.*TertuliaClientPlugin"),
        (data_converter({}), KEYS, "other encryption keys than TERTULIA_ENCRYPTION_KEYS"),
        (data_converter(KEYS), {}, "other encryption keys than TERTULIA_ENCRYPTION_KEYS"),
        (data_converter(OTHER_KEYS), KEYS, "other encryption keys than TERTULIA_ENCRYPTION_KEYS"),
        (FOREIGN, {}, "data converter of its own"),
    ],
)
async def test_check_refuses_an_unusable_client(converter: DataConverter, keys: dict[str, bytes], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_data_converter(await lazy_client(converter), keys)


async def test_check_accepts_pydantic_without_keys() -> None:
    check_data_converter(await lazy_client(pydantic_data_converter), {})


async def test_plugin_keeps_client_interceptors() -> None:
    interceptor = Interceptor()
    client = await Client.connect(
        "localhost:1", lazy=True, interceptors=[interceptor], plugins=[TertuliaClientPlugin(KEYS)]
    )
    assert list(client.config()["interceptors"]) == [interceptor]
