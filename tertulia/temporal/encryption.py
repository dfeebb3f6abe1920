"""Encryption of the payloads that Temporal stores: AES-256-GCM, with the newest of several keys.

Invariant: payloads encrypted with any configured key can be read, and plain ones pass through, so that encryption can
be switched on and keys rotated while conversations run. An unreadable payload fails the task that needs it, which
Temporal retries, and never the conversation.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    PayloadConverter,
)

from tertulia.core.errors import PayloadUnreadable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEYS_ENV = "TERTULIA_ENCRYPTION_KEYS"
ENCRYPTED_ENCODING = b"binary/encrypted"
KEY_ID_METADATA = "encryption-key-id"
_NONCE_BYTES = 12
_NON_KEY_ID_CHARS = re.compile(r"[^A-Za-z0-9._-]")


class EncryptionCodec(PayloadCodec):
    """Encrypt with the first key, decrypt with any. Without keys, payloads pass and encrypted ones raise an error.

    Args:
        keys: 32 bytes under each id, newest first.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._newest_key_id = next(iter(keys), None)
        self._ciphers = {key_id: _cipher(secret) for key_id, secret in keys.items()}

    def has_keys(self, keys: Mapping[str, bytes]) -> bool:
        """Return True if this codec was built from the same keys, in any order."""
        return self._keys == keys

    @property
    def is_encrypting(self) -> bool:
        """True if there is a key to encrypt with."""
        return self._newest_key_id is not None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload, including its metadata."""
        # About 20 microseconds each: a thread would cost more.
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt encrypted payloads and return others unchanged.

        Raises:
            PayloadUnreadable: the key is not configured, or the payload was altered.
        """
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        if self._newest_key_id is None:
            return payload
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._ciphers[self._newest_key_id].encrypt(
            nonce, payload.SerializeToString(), _associated_data(self._newest_key_id)
        )
        return Payload(
            metadata={"encoding": ENCRYPTED_ENCODING, KEY_ID_METADATA: self._newest_key_id.encode()},
            data=nonce + ciphertext,
        )

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCRYPTED_ENCODING:
            return payload
        key_id = payload.metadata.get(KEY_ID_METADATA, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise PayloadUnreadable(
                f"a payload is encrypted under the key {_quote_id(key_id)}, which is not in {KEYS_ENV}: add that key"
                " after the newest one; Temporal retries the task that needs it"
            )
        nonce, ciphertext = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, ciphertext, _associated_data(key_id)))
        except Exception:
            # From None: the cause could show decrypted bytes in a log.
            raise PayloadUnreadable(
                f"a payload that names the key {_quote_id(key_id)} was altered, or was encrypted with another key"
                f" of that id: compare {KEYS_ENV} with its value in the process that encrypted it"
            ) from None


class EncryptedFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Encrypt messages and stack traces of failures, except the message that a key is missing: its readers lack it."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Convert an exception; keep the message of `PayloadUnreadable` readable."""
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, PayloadUnreadable):
            failure.message = str(exception)


def data_converter(keys: Mapping[str, bytes]) -> DataConverter:
    """Return the data converter of clients, workers and replay.

    Args:
        keys: 32 bytes under each id, newest first; without keys, payloads are written in plain text.
    """
    codec = EncryptionCodec(keys)
    if not codec.is_encrypting:
        return replace(pydantic_data_converter, payload_codec=codec)
    return replace(pydantic_data_converter, payload_codec=codec, failure_converter_class=EncryptedFailureConverter)


def is_encrypting(converter: DataConverter) -> bool:
    """Return True if the converter encrypts what it writes."""
    return isinstance(converter.payload_codec, EncryptionCodec) and converter.payload_codec.is_encrypting


def _cipher(secret: bytes) -> "AESGCM":
    # Imported here: a process without encryption does not load it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret)


def _associated_data(key_id: str) -> bytes:
    # The plain metadata is authenticated: it cannot be changed without an error.
    return ENCRYPTED_ENCODING + b"\0" + key_id.encode()


def _quote_id(key_id: str) -> str:
    # The id may come from anybody: no control characters in logs and terminals.
    return repr(_NON_KEY_ID_CHARS.sub("?", key_id)[:64])
