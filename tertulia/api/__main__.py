"""`python -m tertulia.api`: the process that serves the API. It ends on SIGTERM or SIGINT, when what runs has ended."""

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
"""Seconds that running requests may continue once the process is told to end."""
_IDLE_SECONDS = 75
_BACKLOG = 2_048

logger = logging.getLogger("tertulia.api")


class ApiServer(uvicorn.Server):
    """Uvicorn without signal handlers of its own, which tells endless streams that it ends."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            http=StreamProtocol,
            loop="none",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # What a proxy on this machine, or one that FORWARDED_ALLOW_IPS names, says of how it was asked.
            proxy_headers=True,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._stopping: asyncio.Event = app.state.stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def terminate(self) -> None:
        """End soon; asked again, without patience."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(configuration: Configuration, listener: socket.socket) -> bool:
    """Serve until a signal ends it; whether it could."""
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
    """Serve the API until SIGTERM or SIGINT; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tertulia.api", description=__doc__)
    parser.add_argument("--host", help="the address to listen on (TERTULIA_API_HOST)")
    parser.add_argument("--port", type=int, help="0 = a free one (TERTULIA_API_PORT)")
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
    """End the process at once: Temporal's threads may call into a Python that shuts down, and so abort it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    terminate(main())
