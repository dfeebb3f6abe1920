"""One connection to the API. Invariant: every failure is an error with a message for people."""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from tertulia.client.http_errors import (
    KEY_VARIABLE,
    URL_VARIABLE,
    api_unavailable,
    error_from_response,
    unexpected_response,
)
from tertulia.core.errors import ApiUnavailable, ConfigurationError, InvalidDefinition

T = TypeVar("T")

_CONNECT_TIMEOUT_SECONDS = 10.0
_RESPONSE_TIMEOUT_SECONDS = 90.0
"""Longer than the API itself waits for anything."""
STREAM_TIMEOUT_SECONDS = 45.0
"""Longest silence of a stream: the API sends a comment every 15 s."""
_KEY_PATTERN = re.compile(r"[\x21-\x7e]+")
_ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)
NO_CONTENT: TypeAdapter[None] = TypeAdapter(None)
"""For requests whose answer has no body."""


class HttpConnection:
    """The API at one address, with one key."""

    def __init__(self, url: str, http: httpx2.AsyncClient, *, with_key: bool) -> None:
        self.url = url
        """The address as shown in messages."""
        self._http = http
        self._with_key = with_key

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, key: str | None = None) -> AsyncIterator[Self]:
        """Open a connection; nothing is requested yet.

        Raises:
            ConfigurationError: the address or the key is malformed.
        """
        url = parse_api_url(url)
        _check_key(key)
        headers = {"User-Agent": f"tertulia/{version('tertulia')}"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        async with httpx2.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(_RESPONSE_TIMEOUT_SECONDS, connect=_CONNECT_TIMEOUT_SECONDS),
            # Loading certificates takes tens of milliseconds, and only an https address needs them.
            verify=url.startswith("https:"),
        ) as http:
            yield cls(url, http, with_key=key is not None)

    async def get(self, adapter: TypeAdapter[T], path: str, **query: Any) -> T:
        """Return the resource at `path`, below `/v1`."""
        params = {name: value for name, value in query.items() if value is not None}
        return await self._request(adapter, "GET", path, params=params)

    async def post(self, adapter: TypeAdapter[T], path: str, body: Mapping[str, Any]) -> T:
        """Post `body` to `path` and return the answer."""
        return await self._request(adapter, "POST", path, json=body)

    async def patch(
        self, adapter: TypeAdapter[T], path: str, body: Mapping[str, Any], *, expected: int | None = None
    ) -> T:
        """Change the resource at `path` and return it, if its revision is the expected one (`If-Match`)."""
        headers = {} if expected is None else {"If-Match": f'"{expected}"'}
        return await self._request(adapter, "PATCH", path, json=body, headers=headers)

    async def delete(self, path: str, **query: str | None) -> Any:
        """Delete the resource at `path` and return the answer."""
        params = {name: value for name, value in query.items() if value is not None}
        return await self._request(_ANY_JSON, "DELETE", path, params=params)

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str], **query: str) -> AsyncIterator[httpx2.Response]:
        """Context manager: a streamed response. Failures while the block reads it raise this module's errors."""
        timeout = httpx2.Timeout(STREAM_TIMEOUT_SECONDS, connect=_CONNECT_TIMEOUT_SECONDS)
        try:
            async with self._http.stream(
                "GET", f"/v1{path}", params=query, headers=dict(headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._response_error(response, path)
                yield response
        except httpx2.TransportError as error:
            raise self._unavailable(error) from None

    async def _request(self, adapter: TypeAdapter[T], method: str, path: str, **options: Any) -> T:
        try:
            response = await self._http.request(method, f"/v1{path}", **options)
        except httpx2.TransportError as error:
            raise self._unavailable(error) from None
        except UnicodeEncodeError:
            raise InvalidDefinition("a text holds half of a surrogate pair, which cannot be stored") from None
        if not response.is_success:
            raise self._response_error(response, path)
        try:
            return adapter.validate_json(response.content or b"null")
        except ValidationError:
            raise unexpected_response(self.url) from None

    def _response_error(self, response: httpx2.Response, path: str) -> Exception:
        return error_from_response(
            self.url,
            f"/v1{path}",
            response.status_code,
            response.content,
            with_key=self._with_key,
            retry_after=response.headers.get("Retry-After"),
        )

    def _unavailable(self, error: httpx2.TransportError) -> ApiUnavailable:
        if certificate_error := _certificate_error(error):
            return api_unavailable(self.url, f"has no valid certificate: {certificate_error.verify_message}")
        return api_unavailable(self.url)


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def parse_api_url(url: str) -> str:
    """Return the API's address without `/v1` and without a trailing slash.

    Raises:
        ConfigurationError: not an address.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None or ":" not in parts.netloc.rpartition("]")[2]
    except ValueError:
        raise ConfigurationError(
            f"{URL_VARIABLE}: not an address; expected an address such as http://127.0.0.1:8230"
        ) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"{URL_VARIABLE}: remove the name and the password; the key belongs in {KEY_VARIABLE}")
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port or parts.query or parts.fragment:
        raise ConfigurationError(f"{URL_VARIABLE}: expected an address such as http://127.0.0.1:8230, got {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _check_key(key: str | None) -> None:
    if key is not None and not _KEY_PATTERN.fullmatch(key):
        raise ConfigurationError(f"{KEY_VARIABLE}: not a key: it contains spaces or characters that no key has")
