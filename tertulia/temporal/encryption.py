"""Encryption of what Temporal holds: AES-256-GCM, under the newest of several keys.

Law: whatever was encrypted under any of the keys can be read, and what was not encrypted passes through, so that
encryption can be switched on while conversations run. A payload that cannot be read fails the task that needs it, which
Temporal tries again, and never the conversation.
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
    """Encrypts with the first key, decrypts with any. Without keys it encrypts nothing, and names the key it lacks.

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
        """Whether there is a key to encrypt with."""
        return self._newest_key_id is not None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each payload, metadata and all, inside an encrypted one."""
        # Some twenty microseconds each: less than it would cost to hand them to a thread.
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """What was encrypted, as it was before; anything else as it is.

        Raises:
            PayloadUnreadable: the key is not there, or the payload is not what was encrypted under it.
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
                f"a payload is encrypted under the key {_quote_id(key_id)}, which is not in {KEYS_ENV}: add it there,"
                " after the newest; what waits for it is tried again"
            )
        nonce, ciphertext = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, ciphertext, _associated_data(key_id)))
        except Exception:
            # From None: what failed to be decrypted or parsed is no text for a log.
            raise PayloadUnreadable(
                f"a payload that names the key {_quote_id(key_id)} was altered, or was encrypted under another key"
                f" of that id: compare {KEYS_ENV} with that of whoever encrypted it"
            ) from None


class EncryptedFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Messages and stack traces are payloads, and so encrypted. Only that a key is missing is told in the clear, for it
    is read by who has no key.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """As the class it is built on."""
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, PayloadUnreadable):
            failure.message = str(exception)


def data_converter(keys: Mapping[str, bytes]) -> DataConverter:
    """The converter of everything that speaks to Temporal; without keys, what it writes is in the clear."""
    codec = EncryptionCodec(keys)
    if not codec.is_encrypting:
        return replace(pydantic_data_converter, payload_codec=codec)
    return replace(pydantic_data_converter, payload_codec=codec, failure_converter_class=EncryptedFailureConverter)


def is_encrypting(converter: DataConverter) -> bool:
    """Whether what this converter writes is encrypted."""
    return isinstance(converter.payload_codec, EncryptionCodec) and converter.payload_codec.is_encrypting


def _cipher(secret: bytes) -> "AESGCM":
    # Imported here: whoever encrypts nothing need not load it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(secret)


def _associated_data(key_id: str) -> bytes:
    """What stands beside the encrypted bytes in the clear, and cannot be changed without notice."""
    return ENCRYPTED_ENCODING + b"\0" + key_id.encode()


def _quote_id(key_id: str) -> str:
    """An id that may come from anywhere, fit for a message."""
    return repr(_NON_KEY_ID_CHARS.sub("?", key_id)[:64])
