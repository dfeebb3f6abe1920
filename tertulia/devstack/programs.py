"""The API as a program of the stack: its command and its readiness check."""

from collections.abc import Mapping, Sequence

from tertulia.devstack.http_probe import is_responding
from tertulia.devstack.ports import HOST
from tertulia.devstack.processes import Program

_STOP_SECONDS = 15.0
"""Longer than the time that running requests get."""


class ApiServer:
    """The API's server on this machine."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self._command = command
        self._port = port

    def program(self, environment: Mapping[str, str]) -> Program:
        """Return the command that runs the server."""
        return Program(
            name="api",
            command=(*self._command, "--host", HOST, "--port", str(self._port)),
            environment=environment,
            is_ready=self._is_ready,
            stop_timeout_seconds=_STOP_SECONDS,
        )

    async def _is_ready(self) -> bool:
        """Return whether its health route answers."""
        return await is_responding(self._port, "/v1/health/")
