"""A typed client that controls an offline model and reads its counts, for tests, the demo and chaos runs."""

import asyncio
import http.client
from urllib.parse import urlsplit

from tertulia.devstack.offline_model.call_log import CallCounts
from tertulia.devstack.offline_model.faults import Behaviour, Fault

_TIMEOUT_SECONDS = 10


class OfflineModelControl:
    """Controls a running offline model.

    Args:
        base_url: of the server, with or without `/v1`.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80

    async def set_behaviour(self, *faults: Fault, delay_ms: int | None = None) -> Behaviour:
        """Replace the behaviour: these faults, and this delay before each answer (None = as at the start).

        Raises:
            OSError: the server cannot be reached.
            ValueError: the server refused the behaviour; the message says why.
        """
        requested = Behaviour(delay_ms=delay_ms, faults=faults)
        answer = await self._request("POST", "behaviour", requested.model_dump_json().encode())
        return Behaviour.model_validate_json(answer)

    async def get_behaviour(self) -> Behaviour:
        """Return the behaviour, with the remaining uses of each fault."""
        return Behaviour.model_validate_json(await self._request("GET", "behaviour"))

    async def reset(self) -> None:
        """Restore the behaviour of the start."""
        await self._request("DELETE", "behaviour")

    async def calls(self) -> CallCounts:
        """Return the counts since the start, or since they were cleared."""
        return CallCounts.model_validate_json(await self._request("GET", "calls"))

    async def clear_calls(self) -> None:
        """Clear all counts but those of calls in flight."""
        await self._request("DELETE", "calls")

    async def _request(self, method: str, resource: str, body: bytes | None = None) -> bytes:
        return await asyncio.to_thread(self._request_blocking, method, f"/control/{resource}", body)

    def _request_blocking(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"{method} {path}: {response.status} {answer.decode(errors='replace')[:500]}")
        return answer
