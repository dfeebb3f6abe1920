"""The offline model as a program of the stack: its command and its readiness check."""

from collections.abc import Mapping, Sequence

from tertulia.devstack.http_probe import is_responding
from tertulia.devstack.ports import HOST
from tertulia.devstack.processes import Program


class OfflineModelServer:
    """The offline model's server on this machine."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.base_url = f"http://{HOST}:{port}/v1"
        self._command = command
        self._port = port

    def program(self, environment: Mapping[str, str]) -> Program:
        """Return the command that runs the server."""
        return Program(
            name="model",
            command=(*self._command, "--host", HOST, "--port", str(self._port)),
            environment=environment,
            is_ready=self._is_ready,
            stop_timeout_seconds=5.0,
        )

    async def _is_ready(self) -> bool:
        """Return whether the server lists its models."""
        return await is_responding(self._port, "/v1/models")
