"""The plugin of every Temporal client of Tertulia: it sets the data converter.

Invariant: client, worker and replay use the same data converter with the same encryption keys. A client with another
one is refused at once: each side would write payloads that the other cannot read.
"""

from collections.abc import Mapping

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig

from tertulia.core.errors import ConfigurationError
from tertulia.temporal.encryption import KEYS_ENV, EncryptionCodec, data_converter

_CONVERTER_OPTIONS = ("payload_converter_class", "payload_codec", "failure_converter_class", "external_storage")


class TertuliaClientPlugin(SimplePlugin):
    """Set Tertulia's data converter on a Temporal client: pydantic, with encryption if there are keys.

    The client keeps its interceptors and all other options.

    Args:
        encryption_keys: `Configuration.encryption_keys`, 32 bytes under each id, newest first. Without keys nothing is
            encrypted.
        name: the plugin's name in Temporal.

    Raises:
        ConfigurationError: by `Client.connect`, if the client was given another data converter.
    """

    def __init__(self, encryption_keys: Mapping[str, bytes] | None = None, *, name: str = "tertulia-client") -> None:
        self._keys = dict(encryption_keys or {})
        super().__init__(name, data_converter=self._replace_converter)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Check the data converter of the worker's client, then configure as the base class does."""
        check_data_converter(config["client"], self._keys)
        return super().configure_worker(config)

    def _replace_converter(self, existing: DataConverter | None) -> DataConverter:
        if existing is None or _is_stock(existing) or _is_compatible(existing, self._keys):
            return data_converter(self._keys)
        raise ConfigurationError(_describe_conflict(existing, self._keys))


def check_data_converter(client: Client, encryption_keys: Mapping[str, bytes]) -> None:
    """Refuse a client whose data converter cannot be used for Tertulia.

    Args:
        client: a connected client; its own interceptors do not matter.
        encryption_keys: `Configuration.encryption_keys`. Without keys, `pydantic_data_converter` is accepted as well.

    Raises:
        ConfigurationError: the client has another data converter, or other keys; the message names the remedy.
    """
    if not _is_compatible(client.data_converter, encryption_keys):
        raise ConfigurationError(_describe_conflict(client.data_converter, encryption_keys))


def _is_compatible(converter: DataConverter, keys: Mapping[str, bytes]) -> bool:
    if isinstance(converter.payload_codec, EncryptionCodec):
        return converter.payload_codec.has_keys(keys)
    return _is_same(converter, pydantic_data_converter) and not keys


def _is_stock(converter: DataConverter) -> bool:
    return _is_same(converter, DataConverter.default) or _is_same(converter, pydantic_data_converter)


def _is_same(converter: DataConverter, other: DataConverter) -> bool:
    # Not `==`: it compares converter instances, which differ between two equal data converters.
    return all(getattr(converter, name) == getattr(other, name) for name in _CONVERTER_OPTIONS)


def _describe_conflict(converter: DataConverter, keys: Mapping[str, bytes]) -> str:
    remedy = "connect it with `plugins=[TertuliaClientPlugin(configuration.encryption_keys)]`"
    if isinstance(converter.payload_codec, EncryptionCodec):
        return f"the Temporal client has other encryption keys than {KEYS_ENV}; {remedy}"
    if _is_same(converter, pydantic_data_converter):
        return f"{KEYS_ENV} is set, but the Temporal client does not encrypt; {remedy}"
    if _is_same(converter, DataConverter.default):
        return f"the Temporal client has the default data converter, which cannot convert Tertulia's types; {remedy}"
    return (
        "the Temporal client has a data converter of its own, which cannot be combined with Tertulia's;"
        " connect a second client for Tertulia without `data_converter`"
        " and with `plugins=[TertuliaClientPlugin(configuration.encryption_keys)]`"
    )
