"""TCP ports of the stack: the requested ones, or free ones that the data folder remembers."""

import asyncio
import errno
import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from tertulia.devstack.errors import PortInUse

HOST = "127.0.0.1"
_POLL_SECONDS = 0.02
_PREFERRED_PORTS = range(20_000, 32_000)
"""Below the ports that kernels assign automatically (from 32,768 on with Linux, from 49,152 on by IANA)."""
_MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class PortRequest:
    """A requested port."""

    name: str
    """The program that needs it, for the error."""
    option: str
    """The command line's option that changes it, for the error."""
    port: int
    """0 = any free one."""


async def choose_ports(
    requests: Mapping[str, PortRequest], previous: Mapping[str, int], timeout_seconds: float = 0.0
) -> dict[str, int]:
    """Return a port for every request. For a request of 0, the remembered port if it is still free, else any free one.

    A port in use is waited for, up to `timeout_seconds` in all.

    Raises:
        PortInUse: a port that was requested by number is not free.
    """
    deadline = monotonic() + timeout_seconds
    with ExitStack() as open_sockets:
        # All are held until all are chosen, so that no two wishes get the same one.
        return {
            key: await _choose_port(request, previous.get(key, 0), deadline, open_sockets)
            for key, request in requests.items()
        }


async def _choose_port(request: PortRequest, previous: int, deadline: float, open_sockets: ExitStack) -> int:
    number = request.port or previous
    bound = _bind(number) if number else _bind_any()
    while bound is None and monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        bound = _bind(number)
    if bound is None and request.port == 0:
        bound = _bind_any()
    if bound is None:
        raise PortInUse(request.port, request.name, request.option)
    port: int = open_sockets.enter_context(bound).getsockname()[1]
    return port


def _bind_any() -> socket.socket | None:
    """Return a free port that the kernel does not assign automatically."""
    for port in random.sample(_PREFERRED_PORTS, _MAX_ATTEMPTS):
        if bound := _bind(port):
            return bound
    return _bind(0)


def _bind(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener
