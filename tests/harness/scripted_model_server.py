"""A model server that answers with given bytes, for answers that no model here gives."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tertulia.activities.provider import ModelProvider

REFUSAL_BODY = b'{"error": {"message": "stream_options: not known here"}}'


def completion_chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """Return one event of a stream."""
    delta = {} if content is None else {"content": content}
    body = {"model": "told", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE_EVENT = b"data: [DONE]\n\n"
USAGE_EVENT = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}\n\n'
PLAIN_COMPLETION = json.dumps(
    {
        "model": "told",
        "choices": [{"message": {"content": "in one piece"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5},
    }
).encode()


@dataclass
class ScriptedModelServer:
    """Answers streaming requests with `parts`, and every other request with one completion."""

    parts: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    open_end: bool = False
    """True if the connection stays open after the last part."""
    plain_status: int = 200
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:] if b": " in line)
                self.requests.append(json.loads(await reader.readexactly(int(lines[b"content-length"]))))
                await self._respond(writer)
        writer.close()

    async def _respond(self, writer: asyncio.StreamWriter) -> None:
        streamed = self.requests[-1].get("stream")
        if not streamed:
            await _write_response(
                writer, self.plain_status, PLAIN_COMPLETION if self.plain_status == 200 else REFUSAL_BODY
            )
        elif self.status != 200:
            await _write_response(writer, self.status, REFUSAL_BODY)
        elif "json" in self.content_type:
            await _write_response(writer, 200, PLAIN_COMPLETION)
        else:
            await self._send_stream(writer)

    async def _send_stream(self, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {self.content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for part in self.parts:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        if self.open_end:
            await asyncio.sleep(60)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _write_response(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@asynccontextmanager
async def serve_scripted_model(model_server: ScriptedModelServer) -> AsyncIterator[str]:
    """Context manager: serve the model; yields its address."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await model_server.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def provider_of(model_server: ScriptedModelServer) -> AsyncIterator[ModelProvider]:
    """Return a provider for this model server."""
    async with serve_scripted_model(model_server) as url:
        provider = ModelProvider(url, "key", "told")
        try:
            yield provider
        finally:
            await provider.close()
