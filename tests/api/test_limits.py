"""Rate limit, body limit and path normalisation, each in a small application."""

from collections.abc import AsyncIterator, Mapping

import httpx2
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from tertulia.api import problems
from tertulia.api.limits import BodyLimitMiddleware, RateLimiter
from tertulia.api.path_normalisation import ROUTE_TEMPLATE, PathNormalisationMiddleware

LIMIT = 1_000


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def retry_after_seconds(rate_limiter: RateLimiter, key: str = "a") -> int | None:
    """Count one request; return the seconds of its `Retry-After`, or None if it is allowed."""
    try:
        rate_limiter.take(key)
    except HTTPException as refusal:
        assert refusal.status_code == 429 and refusal.headers is not None
        return int(refusal.headers["Retry-After"])
    return None


def test_rate_limit_refuses_until_refilled() -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(6, clock)
    assert [retry_after_seconds(rate_limiter) for _ in range(8)] == [None] * 6 + [10, 10]
    clock.now += 9.9
    assert retry_after_seconds(rate_limiter) == 1
    clock.now += 0.2
    assert [retry_after_seconds(rate_limiter), retry_after_seconds(rate_limiter)] == [None, 10]


def test_rate_limit_bucket_is_capped() -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(6, clock)
    retry_after_seconds(rate_limiter)
    clock.now += 3_600
    assert [retry_after_seconds(rate_limiter) for _ in range(7)] == [None] * 6 + [10]


def test_rate_limit_is_per_key() -> None:
    rate_limiter = RateLimiter(1, FakeClock())
    assert [
        retry_after_seconds(rate_limiter, "a"),
        retry_after_seconds(rate_limiter, "b"),
        retry_after_seconds(rate_limiter, "a"),
    ] == [None, None, 60]


def test_rate_limit_zero_is_unlimited() -> None:
    rate_limiter = RateLimiter(0, FakeClock())
    assert all(retry_after_seconds(rate_limiter) is None for _ in range(100_000))


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=60))
def test_rate_limit_total_is_bounded(per_minute: int, pauses: list[float]) -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(per_minute, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += retry_after_seconds(rate_limiter) is None
    assert passed <= per_minute + sum(pauses) * per_minute / 60 + 1e-6


@given(st.integers(1, 50), st.integers(0, 100))
def test_rate_limit_retry_after_is_sufficient(per_minute: int, tries: int) -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(per_minute, clock)
    waits = [retry_after_seconds(rate_limiter) for _ in range(tries)]
    clock.now += (waits[-1] if waits else None) or 0
    assert retry_after_seconds(rate_limiter) is None or waits[-1:] == [None]


def test_rate_limit_forgets_unused_keys() -> None:
    clock = FakeClock()
    rate_limiter = RateLimiter(60, clock)
    for number in range(30_000):
        retry_after_seconds(rate_limiter, f"key-{number}")
        clock.now += 0.01
    assert len(rate_limiter._buckets) <= 10_000


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that returns the size of the body it has read."""
    app = FastAPI(redirect_slashes=False)
    problems.register_error_handlers(app)

    @app.post("/small")
    @app.post("/large/x")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    async def parsed(body: dict[str, str]) -> int:
        return len(body)

    @app.get("/things/count")
    async def count(request: Request) -> str:
        return str(request.scope[ROUTE_TEMPLATE])

    @app.get("/things/")
    async def things() -> str:
        return "things"

    @app.get("/things/{thing}")
    async def thing(thing: str) -> str:
        return f"thing {thing}"

    app.add_middleware(BodyLimitMiddleware, limit=LIMIT, limits_by_prefix={"/large/": 3 * LIMIT})
    app.add_middleware(PathNormalisationMiddleware, methods=app.openapi()["paths"])
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as connected:
        yield connected


async def chunked_body(total: int, seen: list[int]) -> AsyncIterator[bytes]:
    """Yield a body that is sent without `Content-Length`."""
    for _ in range(total // 100):
        seen.append(100)
        yield b"x" * 100


@pytest.mark.parametrize(("path", "limit"), [("/small", LIMIT), ("/large/x", 3 * LIMIT)])
async def test_body_up_to_limit_is_accepted(client: httpx2.AsyncClient, path: str, limit: int) -> None:
    for content in (b"x" * limit, chunked_body(limit, [])):
        answer = await client.post(path, content=content)
        assert (answer.status_code, answer.json()) == (200, limit)


@pytest.mark.parametrize(("path", "limit"), [("/small", LIMIT), ("/large/x", 3 * LIMIT), ("/json", LIMIT)])
async def test_body_over_limit_is_refused(client: httpx2.AsyncClient, path: str, limit: int) -> None:
    json: Mapping[str, str] = {"content-type": "application/json"}
    for content in (b"x" * (limit + 1), chunked_body(limit + 100, [])):
        answer = await client.post(path, content=content, headers=json)
        assert answer.status_code == 413
        assert answer.json() == {
            "detail": f"the body is too long: at most {limit} bytes are allowed",
            "type": "BodyTooLarge",
        }


async def test_body_with_long_content_length_is_unread(client: httpx2.AsyncClient) -> None:
    seen: list[int] = []
    announced = {"Content-Length": str(LIMIT + 100)}
    assert (await client.post("/small", content=chunked_body(LIMIT + 100, seen), headers=announced)).status_code == 413
    assert not seen


async def test_body_without_length_is_read_to_limit(client: httpx2.AsyncClient) -> None:
    seen: list[int] = []
    answer = await client.post("/small", content=chunked_body(1_000 * LIMIT, seen))
    assert answer.status_code == 413
    assert sum(seen) <= 2 * LIMIT


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/things", "things"),
        ("/things/", "things"),
        ("/things/count", "/things/count"),
        ("/things/count/", "/things/count"),
        ("/things/7", "thing 7"),
        ("/things/7/", "thing 7"),
    ],
)
async def test_trailing_slash_makes_no_difference(client: httpx2.AsyncClient, path: str, answer: str) -> None:
    assert (await client.get(path)).json() == answer


async def test_wrong_method_lists_allowed_ones(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/things/7")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json()["detail"] == "the method PUT is not allowed here; allowed: GET"
