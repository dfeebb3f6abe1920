"""The codec endpoint: the guard first, then the protocol of Temporal's remote codec; browsers from the UI alone."""

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
    Payload(metadata={"encoding": b"json/plain", "": b"\xff\0"}, data=b'"said"'),
    Payload(metadata={"encoding": b"binary/null"}),
]
CODEC = EncryptionCodec({"b": bytes(32), "a": bytes(range(32))})


async def guard(request: Request) -> None:
    if request.headers.get("authorization") != "Bearer right":
        raise HTTPException(401, "no valid key")


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API, which keeps cookies as a browser does."""
    app = FastAPI()
    app.include_router(codec_router(CODEC, guard), prefix="/v1")
    app.add_middleware(CodecCors, **cors_settings(UI))

    @app.get("/v1/other")
    async def other() -> str:
        return "not the codec's"

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://api") as client:
        yield client


def wire(payloads: list[Payload]) -> dict[str, Any]:
    """As Go's and the UI's JSON have them."""
    return {"payloads": [MessageToDict(payload) for payload in payloads]}


def parsed(answer: httpx2.Response) -> list[Payload]:
    assert answer.status_code == 200, answer.text
    return list(Parse(answer.text, Payloads()).payloads)


async def test_what_was_encrypted_is_decrypted_and_the_rest_stays(browser: httpx2.AsyncClient) -> None:
    sealed = [*await CODEC.encode(PLAIN), *await EncryptionCodec({"a": bytes(range(32))}).encode(PLAIN), *PLAIN]
    answer = await browser.post("/v1/codec/decode?preserveStorageRefs=true", json=wire(sealed), headers=KEY)
    assert parsed(answer) == [*PLAIN, *PLAIN, *PLAIN]


async def test_what_is_encoded_can_be_decoded(browser: httpx2.AsyncClient) -> None:
    sealed = parsed(await browser.post("/v1/codec/encode", json=wire(PLAIN), headers=KEY))
    assert b"said" not in b"".join(one.data for one in sealed)
    assert await CODEC.decode(sealed) == PLAIN


async def test_no_payloads_are_a_list_as_well(browser: httpx2.AsyncClient) -> None:
    assert (await browser.post("/v1/codec/decode", json={"payloads": []}, headers=KEY)).json() == {"payloads": []}


@pytest.mark.parametrize("route", ["decode", "encode"])
async def test_without_a_key_not_even_the_body_is_looked_at(browser: httpx2.AsyncClient, route: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{SESSION_COOKIE}=wrong"}):
        answer = await browser.post(f"/v1/codec/{route}", content=body(), headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"detail": "no valid key"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not Temporal's payloads: Invalid JSON"),
        (b"\xff", "not Temporal's payloads: Invalid JSON"),
        (b"[" * 100_000, "not Temporal's payloads: Invalid JSON"),
        (b"[]", "not Temporal's payloads: "),
        (b"{}", "not Temporal's payloads: payloads: Field required"),
        (b'{"payloads": null}', "not Temporal's payloads: payloads: "),
        (b'{"payloads": [{"data": "not base64"}]}', "not Temporal's payloads: payloads.0.data: "),
        (b'{"payloads": [{"data": 5}]}', "not Temporal's payloads: payloads.0.data: expected base64"),
        (b'{"payloads": [{"metadata": {"encoding": "?"}}]}', "not Temporal's payloads: payloads.0.metadata.encoding: "),
    ],
)
async def test_what_is_no_payload_is_a_clear_400(browser: httpx2.AsyncClient, body: bytes, detail: str) -> None:
    answer = await browser.post("/v1/codec/decode", content=body, headers=KEY | {"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith(detail)


async def test_a_payload_under_an_unknown_key_is_a_400_that_names_it(browser: httpx2.AsyncClient) -> None:
    sealed = await EncryptionCodec({"lost": bytes(32)}).encode(PLAIN)
    answer = await browser.post("/v1/codec/decode", json=wire(sealed), headers=KEY)
    assert answer.status_code == 400
    assert "under the key 'lost', which is not in TERTULIA_ENCRYPTION_KEYS" in answer.json()["detail"]


async def test_a_long_body_is_refused(browser: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_BODY_BYTES", 1_000)
    data = b64encode(bytes(1_000)).decode()
    answer = await browser.post("/v1/codec/encode", json={"payloads": [{"data": data}]}, headers=KEY)
    assert answer.status_code == 413


async def test_a_form_of_another_site_is_refused(browser: httpx2.AsyncClient) -> None:
    """A browser sends text/plain anywhere without asking first."""
    answer = await browser.post("/v1/codec/decode", content=json.dumps(wire(PLAIN)), headers=KEY)
    assert answer.status_code == 415


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-namespace",
    }


async def test_the_ui_may_ask_by_either_name_of_this_machine(browser: httpx2.AsyncClient) -> None:
    for origin in (UI, "http://localhost:8233"):
        answer = await browser.options("/v1/codec/decode", headers=preflight(origin))
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        answer = await browser.post("/v1/codec/decode", json=wire(PLAIN), headers=KEY | {"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9999", "https://127.0.0.1:8233", "http://evil.example", "null"])
async def test_no_other_origin_may(browser: httpx2.AsyncClient, origin: str) -> None:
    answer = await browser.options("/v1/codec/decode", headers=preflight(origin))
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    answer = await browser.post("/v1/codec/decode", json=wire(PLAIN), headers=KEY | {"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


async def test_the_ui_may_ask_nothing_but_the_codec(browser: httpx2.AsyncClient) -> None:
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
def test_the_origin_is_that_of_the_configured_ui(url: str | None, origins: list[str]) -> None:
    assert cors_settings(url)["allow_origins"] == origins


async def test_a_browser_that_was_given_a_key_may_decrypt_until_it_is_taken_away(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/v1/codec/session")
    assert page.status_code == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    begun = await browser.post("/v1/codec/session", headers=KEY)
    assert begun.status_code == 204
    cookie = begun.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/v1/codec;" in cookie
    assert parsed(await browser.post("/v1/codec/decode", json=wire(PLAIN))) == PLAIN
    assert (await browser.delete("/v1/codec/session")).status_code == 204
    assert (await browser.post("/v1/codec/decode", json=wire(PLAIN))).status_code == 401


async def test_no_session_begins_without_the_right_key(browser: httpx2.AsyncClient) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = await browser.post("/v1/codec/session", headers=headers)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers


async def test_a_key_of_the_requests_own_goes_before_the_sessions(browser: httpx2.AsyncClient) -> None:
    await browser.post("/v1/codec/session", headers=KEY)
    for headers in ({"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
        answer = await browser.post("/v1/codec/decode", json=wire(PLAIN), headers=headers)
        assert answer.status_code == 401


async def test_the_document_tells_of_the_body_and_of_every_refusal(browser: httpx2.AsyncClient) -> None:
    document = (await browser.get("/openapi.json")).json()
    operation = document["paths"]["/v1/codec/decode"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schema.rpartition("/")[2] in document["components"]["schemas"]
    assert {"200", "400", "401", "403", "413", "415"} <= set(operation["responses"])
