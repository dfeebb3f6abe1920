"""The client half of the plugin: the data converter that clients, workers and replay share."""

from collections.abc import Mapping

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin

from tertulia.temporal.encryption import EncryptionCodec, data_converter


class TertuliaClientPlugin(SimplePlugin):
    """Give a Temporal client this project's data converter.

    Args:
        encryption_keys: as `Configuration.encryption_keys`; without keys, nothing is encrypted.

    Raises:
        ValueError: on connecting, if the client was given another data converter.
    """

    def __init__(self, encryption_keys: Mapping[str, bytes] | None = None) -> None:
        keys = encryption_keys or {}

        def replace(existing: DataConverter | None) -> DataConverter:
            check_replaceable(existing)
            return data_converter(keys)

        super().__init__("tertulia-client", data_converter=replace)


def check_replaceable(existing: DataConverter | None) -> None:
    """Refuse to replace a data converter that somebody chose.

    Raises:
        ValueError: `existing` is neither the default converter, the pydantic one nor this project's.
    """
    if existing in (None, DataConverter.default, pydantic_data_converter):
        return
    if existing is not None and isinstance(existing.payload_codec, EncryptionCodec):
        return
    raise ValueError(
        "the Temporal client has a data converter of its own, which cannot read Tertulia's payloads:"
        " connect a second client without `data_converter` for Tertulia"
    )
