"""Run the offline model: in this process until a signal ends it, or in a thread beside other work."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tertulia.devstack.offline_model.control import OfflineModelControl
from tertulia.devstack.offline_model.server import ABORT, OfflineApp
from tertulia.devstack.offline_model.voices import shared_lines, voices

_KEEP_ALIVE_SECONDS = 3_600
_SHUTDOWN_SECONDS = 2
_START_TIMEOUT_SECONDS = 30


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose application can cut the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][ABORT] = self.transport.abort


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers and log lines."""

    def __init__(self, app: OfflineApp, on_start: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def request_exit(self) -> None:
        """Request the end. Thread-safe."""
        self.should_exit = True


@dataclass(frozen=True, slots=True)
class OfflineModel:
    """A running offline model."""

    base_url: str
    """The base URL for an OpenAI client."""

    @property
    def control(self) -> OfflineModelControl:
        return OfflineModelControl(self.base_url)


def run(host: str, port: int, delay_ms: int) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output says where, once connections are accepted."""
    listener = _listen(host, port)
    url = _base_url(listener)
    server = _Server(OfflineApp(delay_ms), lambda: print(f"listening on {url}", flush=True))
    _preload_voices()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.request_exit)
        await server.serve([listener])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


@contextlib.asynccontextmanager
async def open_offline_model(port: int = 0, *, delay_ms: int = 0) -> AsyncIterator[OfflineModel]:
    """Run an offline model beside the caller, on the loopback address; port 0 = a free one.

    It has a thread and a loop of its own, so that it answers also while the caller's loop is busy.
    """
    listener = _listen("127.0.0.1", port)
    url = _base_url(listener)
    started = threading.Event()
    server = _Server(OfflineApp(delay_ms), started.set)
    thread = threading.Thread(target=_run_in_thread, args=(server, listener), name="offline-model", daemon=True)
    thread.start()
    try:
        if not await asyncio.to_thread(started.wait, _START_TIMEOUT_SECONDS):
            raise RuntimeError(f"the offline model did not start within {_START_TIMEOUT_SECONDS} s")
        yield OfflineModel(url)
    finally:
        server.request_exit()
        await asyncio.to_thread(thread.join)


def _run_in_thread(server: _Server, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve([listener]))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2_048)


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _preload_voices() -> None:
    """Load the voices, so that the first request is as fast as the others."""
    voices()
    shared_lines()
