"""Limits hold before what exceeds them is read, for each key apart."""

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


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(rate_limiter: RateLimiter, key: str = "a") -> int | None:
    """In how many seconds to come back; None where the request is let through."""
    try:
        rate_limiter.take(key)
    except HTTPException as refusal:
        assert refusal.status_code == 429 and refusal.headers is not None
        return int(refusal.headers["Retry-After"])
    return None


def test_a_key_may_come_so_often_a_minute_and_then_waits() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(6, clock)
    assert [refused(rate_limiter) for _ in range(8)] == [None] * 6 + [10, 10]
    clock.now += 9.9
    assert refused(rate_limiter) == 1
    clock.now += 0.2
    assert [refused(rate_limiter), refused(rate_limiter)] == [None, 10]


def test_who_stays_away_does_not_save_up_more_than_a_minute_s_worth() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(6, clock)
    refused(rate_limiter)
    clock.now += 3_600
    assert [refused(rate_limiter) for _ in range(7)] == [None] * 6 + [10]


def test_keys_do_not_use_up_each_others_requests() -> None:
    rate_limiter = RateLimiter(1, Clock())
    assert [refused(rate_limiter, "a"), refused(rate_limiter, "b"), refused(rate_limiter, "a")] == [None, None, 60]


def test_a_limit_of_zero_is_none() -> None:
    rate_limiter = RateLimiter(0, Clock())
    assert all(refused(rate_limiter) is None for _ in range(100_000))


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=60))
def test_no_more_pass_than_a_minute_s_worth_and_what_fills_up_meanwhile(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    rate_limiter = RateLimiter(per_minute, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += refused(rate_limiter) is None
    assert passed <= per_minute + sum(pauses) * per_minute / 60 + 1e-6


@given(st.integers(1, 50), st.integers(0, 100))
def test_one_who_comes_back_when_told_to_is_let_through(per_minute: int, tries: int) -> None:
    clock = Clock()
    rate_limiter = RateLimiter(per_minute, clock)
    waits = [refused(rate_limiter) for _ in range(tries)]
    clock.now += (waits[-1] if waits else None) or 0
    assert refused(rate_limiter) is None or waits[-1:] == [None]


def test_keys_that_are_not_used_any_more_are_forgotten() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(60, clock)
    for number in range(30_000):
        refused(rate_limiter, f"key-{number}")
        clock.now += 0.01
    assert len(rate_limiter._buckets) <= 10_000


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """An application that tells how much it has read."""
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


async def pieces(total: int, seen: list[int]) -> AsyncIterator[bytes]:
    """A body whose length nobody announces."""
    for _ in range(total // 100):
        seen.append(100)
        yield b"x" * 100


@pytest.mark.parametrize(("path", "limit"), [("/small", LIMIT), ("/large/x", 3 * LIMIT)])
async def test_a_body_may_be_as_long_as_the_limit(client: httpx2.AsyncClient, path: str, limit: int) -> None:
    for content in (b"x" * limit, pieces(limit, [])):
        answer = await client.post(path, content=content)
        assert (answer.status_code, answer.json()) == (200, limit)


@pytest.mark.parametrize(("path", "limit"), [("/small", LIMIT), ("/large/x", 3 * LIMIT), ("/json", LIMIT)])
async def test_a_longer_body_is_refused(client: httpx2.AsyncClient, path: str, limit: int) -> None:
    json: Mapping[str, str] = {"content-type": "application/json"}
    for content in (b"x" * (limit + 1), pieces(limit + 100, [])):
        answer = await client.post(path, content=content, headers=json)
        assert answer.status_code == 413
        assert answer.json() == {
            "detail": f"the body is longer than the {limit} bytes that are allowed",
            "type": "BodyTooLarge",
        }


async def test_a_body_whose_announced_length_is_too_long_is_not_read_at_all(client: httpx2.AsyncClient) -> None:
    seen: list[int] = []
    announced = {"Content-Length": str(LIMIT + 100)}
    assert (await client.post("/small", content=pieces(LIMIT + 100, seen), headers=announced)).status_code == 413
    assert not seen


async def test_a_body_without_an_announced_length_is_not_read_to_its_end(client: httpx2.AsyncClient) -> None:
    seen: list[int] = []
    answer = await client.post("/small", content=pieces(1_000 * LIMIT, seen))
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
async def test_a_slash_at_the_end_makes_no_difference(client: httpx2.AsyncClient, path: str, answer: str) -> None:
    assert (await client.get(path)).json() == answer


async def test_a_method_that_a_path_does_not_have_is_told_which_it_has(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/things/7")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json()["detail"] == "PUT is not possible here, but GET"
