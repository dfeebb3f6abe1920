"""`python -m tertulia.api`: serve the REST API until SIGTERM or SIGINT.

Invariant: after the signal, running requests have `_GRACE_SECONDS` to finish; event streams end at once.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import uvicorn
import uvloop
from fastapi import FastAPI

from tertulia.api.app import create_app
from tertulia.api.sse import StreamProtocol
from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError, TertuliaError

_GRACE_SECONDS = 10
"""Seconds that running requests may continue after the signal to stop."""
_IDLE_SECONDS = 75
"""Seconds that an idle connection is kept open; longer than the 60 s of common proxies."""
_BACKLOG = 2_048

logger = logging.getLogger("tertulia.api")


class ApiServer(uvicorn.Server):
    """Uvicorn server that ends event streams before it shuts down, and leaves signals to its caller."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            http=StreamProtocol,
            loop="none",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # The scheme decides whether cookies are `Secure`. Uvicorn trusts these headers from this machine and from
            # the addresses in FORWARDED_ALLOW_IPS.
            proxy_headers=True,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._stopping: asyncio.Event = app.state.stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # An event stream has no end of its own: without this, shutdown would wait for the whole grace period.
        self._stopping.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def terminate(self) -> None:
        """Start to shut down; a second call closes open connections at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(configuration: Configuration, listener: socket.socket) -> bool:
    """Serve until a signal arrives; return whether the server had started."""
    server = ApiServer(create_app(configuration))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.terminate)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    logger.info("listening on http://%s, documented at http://%s/docs", address, address)
    await server.serve([listener])
    return server.started


def main(arguments: list[str] | None = None) -> int:
    """Serve the API until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tertulia.api", description="Serve the REST API until SIGTERM or SIGINT."
    )
    parser.add_argument("--host", help="address to listen on (TERTULIA_API_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 = any free port (TERTULIA_API_PORT)")
    options = parser.parse_args(arguments)
    try:
        configuration = Configuration.from_environment()
        _configure_logging(configuration)
        host = options.host or configuration.api_host
        port = configuration.api_port if options.port is None else options.port
        started = uvloop.run(serve(configuration, _create_socket(host, port)))
    except (ConfigurationError, TertuliaError, RuntimeError, OSError) as error:
        print(f"tertulia api: {error}", file=sys.stderr)
        return 1
    return 0 if started else 1


def _configure_logging(configuration: Configuration) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("tertulia").setLevel(configuration.log_level)


def _create_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def terminate(code: int) -> NoReturn:
    """Exit without finalising Python: Temporal's threads may call into an interpreter that shuts down and abort it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    terminate(main())
