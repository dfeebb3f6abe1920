"""The codec: encryption, refusals, and messages that reveal neither text nor key."""

import re
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError, PayloadUnreadable
from tertulia.starter.cli.app import run
from tertulia.temporal.encryption import (
    ENCRYPTED_ENCODING,
    KEY_ID_METADATA,
    EncryptionCodec,
    data_converter,
    is_encrypting,
)

TEXT = "the treasure is under the old mill"
A, B = bytes(range(32)), bytes(range(1, 33))
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=TEXT.encode())
PAYLOADS = st.builds(
    Payload, metadata=st.dictionaries(st.text(max_size=10), st.binary(max_size=20)), data=st.binary(max_size=500)
)


async def encrypt(payload: Payload = PLAIN, **keys: bytes) -> Payload:
    [sealed] = await EncryptionCodec(keys or {"a": A}).encode([payload])
    return sealed


@given(payloads=st.lists(PAYLOADS, max_size=4))
async def test_encrypt_and_decrypt_round_trip(payloads: list[Payload]) -> None:
    codec = EncryptionCodec({"a": A})
    assert await codec.decode(await codec.encode(payloads)) == payloads


async def test_encrypted_payload_shows_only_key_id() -> None:
    sealed = await encrypt()
    assert dict(sealed.metadata) == {"encoding": ENCRYPTED_ENCODING, KEY_ID_METADATA: b"a"}
    assert TEXT.encode() not in sealed.SerializeToString() and b"json/plain" not in sealed.SerializeToString()


async def test_encryption_uses_fresh_nonces() -> None:
    sealed = await EncryptionCodec({"a": A}).encode([PLAIN] * 1_000)
    assert len({payload.data[:12] for payload in sealed}) == len({payload.data[12:] for payload in sealed}) == 1_000


async def test_newest_key_encrypts_all_keys_decrypt() -> None:
    rotated = EncryptionCodec({"b": B, "a": A})
    [sealed] = await rotated.encode([PLAIN])
    assert sealed.metadata[KEY_ID_METADATA] == b"b"
    assert await rotated.decode([sealed, await encrypt(a=A)]) == [PLAIN, PLAIN]


async def test_plain_payload_passes_decryption() -> None:
    nothing = Payload()
    assert await EncryptionCodec({"a": A}).decode([PLAIN, nothing]) == [PLAIN, nothing]


async def test_codec_without_keys_names_missing_key() -> None:
    codec = EncryptionCodec({})
    assert await codec.encode([PLAIN]) == [PLAIN]
    assert not codec.is_encrypting and not is_encrypting(data_converter({}))
    assert is_encrypting(data_converter({"a": A}))
    with pytest.raises(PayloadUnreadable, match=r"'a'.*TERTULIA_ENCRYPTION_KEYS"):
        await codec.decode([await encrypt(a=A)])


async def test_missing_key_error_names_variable() -> None:
    with pytest.raises(PayloadUnreadable, match="under the key 'a', which is not in TERTULIA_ENCRYPTION_KEYS"):
        await EncryptionCodec({"b": B}).decode([await encrypt(a=A)])


async def test_foreign_key_id_is_sanitised() -> None:
    forged = Payload(
        metadata={"encoding": ENCRYPTED_ENCODING, KEY_ID_METADATA: b"\x1b[2J\n\xff" + b"x" * 500}, data=b""
    )
    with pytest.raises(PayloadUnreadable) as raised:
        await EncryptionCodec({"a": A}).decode([forged])
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


@pytest.mark.parametrize("at", [0, 11, 12, 40, -16, -1])
async def test_changed_byte_is_detected(at: int) -> None:
    sealed = await encrypt()
    data = bytearray(sealed.data)
    data[at] ^= 1
    await assert_refused(Payload(metadata=sealed.metadata, data=bytes(data)))


async def test_truncated_payload_is_detected() -> None:
    sealed = await encrypt()
    for length in (0, 5, 12, 20, len(sealed.data) - 1):
        await assert_refused(Payload(metadata=sealed.metadata, data=sealed.data[:length]))


async def test_key_id_is_authenticated() -> None:
    """An id cannot be replaced by another one, even if both ids have the same key."""
    sealed = await encrypt(a=A)
    renamed = Payload(metadata={**sealed.metadata, KEY_ID_METADATA: b"b"}, data=sealed.data)
    await assert_refused(renamed, a=A, b=A)


async def test_other_key_with_same_id_is_detected() -> None:
    await assert_refused(await encrypt(a=A), a=B)


async def assert_refused(payload: Payload, **keys: bytes) -> None:
    with pytest.raises(PayloadUnreadable, match=r"was altered.*TERTULIA_ENCRYPTION_KEYS") as raised:
        await EncryptionCodec(keys or {"a": A}).decode([payload])
    assert TEXT not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


async def test_failure_text_is_encrypted() -> None:
    converter, failure = data_converter({"a": A}), Failure()
    error = ApplicationError(TEXT, {"detail": TEXT}, type="Kind")
    error.__cause__ = ValueError(TEXT)
    await converter.encode_failure(error, failure)
    assert TEXT.encode() not in failure.SerializeToString()
    assert failure.application_failure_info.type == "Kind"
    decoded = await converter.decode_failure(failure)
    assert isinstance(decoded, ApplicationError)
    assert (decoded.message, decoded.details) == (TEXT, ({"detail": TEXT},))
    assert TEXT in str(decoded.__cause__)


async def test_missing_key_failure_is_readable() -> None:
    failure, error = Failure(), ApplicationError("Failed decoding arguments")
    with pytest.raises(PayloadUnreadable) as raised:
        await EncryptionCodec({"b": B}).decode([await encrypt(a=A)])
    error.__cause__ = raised.value
    await data_converter({"b": B}).encode_failure(error, failure)
    assert "under the key 'a'" in failure.cause.message
    assert failure.message == "Encoded failure"


def parse_keys(text: str) -> dict[str, bytes]:
    return Configuration.from_environment({"TERTULIA_ENCRYPTION_KEYS": text}).encryption_keys


def key_entry(key_id: str, secret: bytes) -> str:
    return f"{key_id}:{b64encode(secret).decode()}"


def test_keys_are_parsed_newest_first() -> None:
    keys = parse_keys(f"{key_entry('b', B)}, {key_entry('2026-11-21-a.1_x', A)}")
    assert list(keys.items()) == [("b", B), ("2026-11-21-a.1_x", A)]
    assert parse_keys("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b64encode(A).decode(), "entry 1: expected id:base64; `tertulia encryption new-key` creates a key"),
        (f"{key_entry('a', A)},", "entry 2: expected id:base64"),
        (f"{key_entry('a', A)},{key_entry('b c', B)}", "entry 2: expected id:base64"),
        (key_entry("x" * 33, A), "entry 1: expected id:base64"),
        ("a:hush!hush", "entry 1: the text after the colon is not base64"),
        (f"{key_entry('a', A)},{key_entry('b', B[:16])}", "entry 2: expected a key of 32 bytes, got 16"),
        (f"{key_entry('a', A)},{key_entry('a', B)}", "entry 2: an earlier entry has the same id"),
    ],
)
def test_malformed_key_entry_is_not_shown(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^TERTULIA_ENCRYPTION_KEYS: {re.escape(message)}") as raised:
        parse_keys(text)
    for secret in (A, B, B[:16], b"hush"):
        assert b64encode(secret).decode() not in str(raised.value)
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_repr_hides_encryption_keys(tmp_path: Path) -> None:
    variables = {"TERTULIA_DATA": str(tmp_path), "TERTULIA_ENCRYPTION_KEYS": key_entry("a", A)}
    configuration = Configuration.from_environment(variables)
    assert configuration.encryption_keys == {"a": A}
    assert b64encode(A).decode() not in repr(configuration)
    assert repr(A) not in repr(configuration)


def test_new_key_command_output_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["encryption", "new-key"]) == 0
    assert run(["encryption", "new-key", "--id", "winter"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    keys = parse_keys(f"{first},{second}")
    assert list(keys)[1] == "winter"
    assert len(set(keys.values())) == 2


def test_new_key_command_refuses_invalid_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["encryption", "new-key", "--id", "a:b"]) == 2
    assert capsys.readouterr().out == ""
