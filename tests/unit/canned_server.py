"""A TCP server on loopback that answers each connection with given bytes and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Canned:
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def canned(*answers: bytes, talk: Talk | None = None) -> AsyncIterator[Canned]:
    """The n-th request gets the n-th answer, the last one again and again; `talk` takes over a connection instead."""
    state = Canned()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            if talk is not None:
                await talk(reader, writer)
                return
            state.requests.append(await read_request(reader))
            writer.write(answers[min(len(state.requests), len(answers)) - 1])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    async with server:
        yield state


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    return head + await reader.readexactly(length)


def http(body: str | bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP/1.1 answer that ends its connection."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def http_json(value: object, *headers: str) -> bytes:
    return http(json.dumps(value), "200 OK", "Content-Type: application/json", *headers)
