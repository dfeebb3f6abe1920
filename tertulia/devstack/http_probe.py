"""Probe an HTTP server on this machine."""

import asyncio

from tertulia.devstack.ports import HOST

_ATTEMPT_SECONDS = 2.0


async def is_responding(port: int, path: str) -> bool:
    """Send one GET request; return whether the answer has status 200."""
    try:
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            return b" 200 " in await _status_line(port, path)
    except (OSError, TimeoutError):
        return False


async def _status_line(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()
