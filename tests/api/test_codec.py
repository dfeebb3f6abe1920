"""The codec endpoint: guard, protocol of Temporal's remote codec, CORS and the cookie session."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from google.protobuf.json_format import MessageToDict, Parse
from temporalio.api.common.v1 import Payload, Payloads

from tertulia.api import codec as endpoint
from tertulia.api.codec import CodecCors, codec_router, cors_settings
from tertulia.api.codec_session import SESSION_COOKIE
from tertulia.temporal.encryption import EncryptionCodec

UI = "http://127.0.0.1:8233"
KEY = {"Authorization": "Bearer right"}
PLAIN = [
    Payload(metadata={"encoding": b"json/plain", "": b"\xff\0"}, data=b'"secret"'),
    Payload(metadata={"encoding": b"binary/null"}),
]
CODEC = EncryptionCodec({"b": bytes(32), "a": bytes(range(32))})


async def guard(request: Request) -> None:
    if request.headers.get("authorization") != "Bearer right":
        raise HTTPException(401, "no valid key")


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the codec that keeps cookies, as a browser does."""
    app = FastAPI()
    app.include_router(codec_router(CODEC, guard), prefix="/v1")
    app.add_middleware(CodecCors, **cors_settings(UI))

    @app.get("/v1/other")
    async def other() -> str:
        return "outside the codec"

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://api") as client:
        yield client


def payloads_as_json(payloads: list[Payload]) -> dict[str, Any]:
    """Return payloads in the JSON form of Temporal's UI and command line."""
    return {"payloads": [MessageToDict(payload) for payload in payloads]}


def payloads_of(answer: httpx2.Response) -> list[Payload]:
    assert answer.status_code == 200, answer.text
    return list(Parse(answer.text, Payloads()).payloads)


async def test_decode_leaves_plain_payloads(browser: httpx2.AsyncClient) -> None:
    encrypted = [*await CODEC.encode(PLAIN), *await EncryptionCodec({"a": bytes(range(32))}).encode(PLAIN), *PLAIN]
    answer = await browser.post(
        "/v1/codec/decode?preserveStorageRefs=true", json=payloads_as_json(encrypted), headers=KEY
    )
    assert payloads_of(answer) == [*PLAIN, *PLAIN, *PLAIN]


async def test_encoded_payload_round_trips(browser: httpx2.AsyncClient) -> None:
    encrypted = payloads_of(await browser.post("/v1/codec/encode", json=payloads_as_json(PLAIN), headers=KEY))
    assert b"secret" not in b"".join(one.data for one in encrypted)
    assert await CODEC.decode(encrypted) == PLAIN


async def test_decode_empty_payload_list(browser: httpx2.AsyncClient) -> None:
    assert (await browser.post("/v1/codec/decode", json={"payloads": []}, headers=KEY)).json() == {"payloads": []}


@pytest.mark.parametrize("route", ["decode", "encode"])
async def test_missing_key_is_refused_before_body(browser: httpx2.AsyncClient, route: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{SESSION_COOKIE}=wrong"}):
        answer = await browser.post(f"/v1/codec/{route}", content=body(), headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"detail": "no valid key"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not Temporal payloads: must be valid JSON"),
        (b"\xff", "not Temporal payloads: must be valid JSON"),
        (b"[" * 100_000, "not Temporal payloads: must be valid JSON"),
        (b"[]", "not Temporal payloads: "),
        (b"{}", "not Temporal payloads: payloads: is required"),
        (b'{"payloads": null}', "not Temporal payloads: payloads: "),
        (b'{"payloads": [{"data": "not base64"}]}', "not Temporal payloads: payloads.0.data: must be base64"),
        (b'{"payloads": [{"data": 5}]}', "not Temporal payloads: payloads.0.data: must be base64"),
        (
            b'{"payloads": [{"metadata": {"encoding": "?"}}]}',
            "not Temporal payloads: payloads.0.metadata.encoding: must be base64",
        ),
    ],
)
async def test_decode_malformed_is_400(browser: httpx2.AsyncClient, body: bytes, detail: str) -> None:
    answer = await browser.post("/v1/codec/decode", content=body, headers=KEY | {"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(detail)


async def test_decode_unknown_key_is_400(browser: httpx2.AsyncClient) -> None:
    encrypted = await EncryptionCodec({"lost": bytes(32)}).encode(PLAIN)
    answer = await browser.post("/v1/codec/decode", json=payloads_as_json(encrypted), headers=KEY)
    assert answer.status_code == 400
    assert "under the key 'lost', which is not in TERTULIA_ENCRYPTION_KEYS" in answer.json()["detail"]


async def test_encode_long_body_is_refused(browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_BODY_BYTES", 1_000)
    data = b64encode(bytes(1_000)).decode()
    answer = await browser.post("/v1/codec/encode", json={"payloads": [{"data": data}]}, headers=KEY)
    assert answer.status_code == 413


async def test_decode_form_content_type_is_refused(browser: httpx2.AsyncClient) -> None:
    # A browser sends text/plain to any origin without a preflight request.
    answer = await browser.post("/v1/codec/decode", content=json.dumps(payloads_as_json(PLAIN)), headers=KEY)
    assert answer.status_code == 415


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }


async def test_cors_allows_both_ui_origins(browser: httpx2.AsyncClient) -> None:
    for origin in (UI, "http://localhost:8233"):
        answer = await browser.options("/v1/codec/decode", headers=preflight(origin))
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        answer = await browser.post("/v1/codec/decode", json=payloads_as_json(PLAIN), headers=KEY | {"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9999", "https://127.0.0.1:8233", "http://evil.example", "null"])
async def test_cors_refuses_other_origins(browser: httpx2.AsyncClient, origin: str) -> None:
    answer = await browser.options("/v1/codec/decode", headers=preflight(origin))
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    answer = await browser.post("/v1/codec/decode", json=payloads_as_json(PLAIN), headers=KEY | {"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


async def test_cors_is_limited_to_codec_routes(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/v1/other", headers={"Origin": UI})
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        (None, []),
        ("http://127.0.0.1:8233", ["http://127.0.0.1:8233", "http://localhost:8233"]),
        ("http://localhost:80/ui", ["http://127.0.0.1:80", "http://localhost:80"]),
        ("https://ui.example/temporal", ["https://ui.example"]),
    ],
)
def test_cors_origin_follows_configured_ui(url: str | None, origins: list[str]) -> None:
    assert cors_settings(url)["allow_origins"] == origins


async def test_session_cookie_decodes_until_deleted(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/v1/codec/session")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    started = await browser.post("/v1/codec/session", headers=KEY)
    assert started.status_code == 204
    cookie = started.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/v1/codec;" in cookie
    assert payloads_of(await browser.post("/v1/codec/decode", json=payloads_as_json(PLAIN))) == PLAIN
    assert (await browser.delete("/v1/codec/session")).status_code == 204
    assert (await browser.post("/v1/codec/decode", json=payloads_as_json(PLAIN))).status_code == 401


async def test_session_requires_valid_key(browser: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = await browser.post("/v1/codec/session", headers=headers)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers


async def test_request_key_precedes_session(browser: httpx2.AsyncClient) -> None:
    await browser.post("/v1/codec/session", headers=KEY)
    for headers in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
        answer = await browser.post("/v1/codec/decode", json=payloads_as_json(PLAIN), headers=headers)
        assert answer.status_code == 401


async def test_openapi_documents_codec_responses(browser: httpx2.AsyncClient) -> None:
    document = (await browser.get("/openapi.json")).json()
    operation = document["paths"]["/v1/codec/decode"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schema.rpartition("/")[2] in document["components"]["schemas"]
    assert {"200", "400", "401", "403", "413", "415"} <= set(operation["responses"])
