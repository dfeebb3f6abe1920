"""The offline model as one program of the stack: how to run it, and how to see that it answers."""

import asyncio
from collections.abc import Mapping, Sequence

from devstack.ports import HOST
from devstack.processes import Program

_ATTEMPT_SECONDS = 2.0


class OfflineModel:
    """The offline model's server on this machine."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.base_url = f"http://{HOST}:{port}/v1"
        self._command = command
        self._port = port

    def program(self, environment: Mapping[str, str]) -> Program:
        """How to run the server."""
        return Program(
            name="model",
            command=(*self._command, "--host", HOST, "--port", str(self._port)),
            environment=environment,
            ready=self._ready,
            stop_limit=5.0,
        )

    async def _ready(self) -> bool:
        """Whether it lists its models."""
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                return b" 200 " in await self._ask(f"GET /v1/models HTTP/1.0\r\nHost: {HOST}\r\n\r\n")
        except (OSError, TimeoutError):
            return False

    async def _ask(self, request: str) -> bytes:
        """The answer's status line."""
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            writer.write(request.encode())
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()
