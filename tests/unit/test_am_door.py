"""The AM HTTP door: who may enter, what is taken, and that nothing is stored otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.secret import Secret
from producers.am_door import MAX_REQUEST_BYTES, StoreUnavailable, create_door
from schemas.am_messages import AmMessage
from tests.unit.message_samples import DATA, body, event

TOKEN = "token-of-a-test"
ENTRY = {"Authorization": f"Bearer {TOKEN}"}
Client = TestClient[web.Request, web.Application]


class Store:
    """Remembers what was accepted; `down` makes it refuse."""

    def __init__(self) -> None:
        self.batches: list[list[AmMessage]] = []
        self.down = False

    async def accept(self, messages: list[AmMessage]) -> list[str]:
        if self.down:
            raise StoreUnavailable("no connection to db.example:5432")
        self.batches.append(messages)
        return ["accepted"] * len(messages)


def at_the_door(visit: Callable[[Client, Store], Awaitable[None]]) -> None:
    async def run() -> None:
        store = Store()
        app = create_door(store.accept, lambda: ("k1", "A" * 43), Secret(TOKEN))
        async with TestClient(TestServer(app)) as client:
            await visit(client, store)

    asyncio.run(run())


async def post(client: Client, sent: Any, **headers: str) -> ClientResponse:
    return await client.post("/am/messages", data=sent, headers=ENTRY | headers)


def test_a_message_is_answered_after_it_was_stored() -> None:
    async def visit(client: Client, store: Store) -> None:
        answer = await post(client, body("order.paid"))
        assert answer.status == 202
        assert await answer.json() == {"accepted": [{"id": "0001", "result": "accepted"}]}
        ((message,),) = store.batches
        assert message.type == "order.paid"

    at_the_door(visit)


def test_an_array_is_stored_as_one() -> None:
    async def visit(client: Client, store: Store) -> None:
        events = [event(kind, id=str(number)) for number, kind in enumerate(DATA)]
        answer = await post(client, json.dumps(events).encode())
        assert answer.status == 202
        assert [one["id"] for one in (await answer.json())["accepted"]] == [str(number) for number in range(len(DATA))]
        assert [len(batch) for batch in store.batches] == [len(DATA)]

    at_the_door(visit)


def test_an_empty_array_is_fine_and_bothers_nobody() -> None:
    async def visit(client: Client, store: Store) -> None:
        answer = await post(client, b"[]")
        assert (answer.status, await answer.json()) == (202, {"accepted": []})
        assert store.batches == []

    at_the_door(visit)


def test_one_bad_message_stores_nothing_and_is_named_by_index_and_field() -> None:
    async def visit(client: Client, store: Store) -> None:
        bad = event("refund.arrived", DATA["refund.arrived"] | {"amount_fen": -1})
        answer = await post(client, json.dumps([event("order.paid"), bad]).encode())
        assert answer.status == 400
        told = await answer.json()
        assert told["problems"] == [
            {"index": 1, "field": "data.amount_fen", "reason": "Input should be greater than 0"},
        ]
        assert store.batches == []

    at_the_door(visit)


@pytest.mark.parametrize("sent", [b"", b"{", b"null", b"\xff", b'{"type":"order.paid"}'])
def test_what_is_no_message_is_a_400(sent: bytes) -> None:
    async def visit(client: Client, store: Store) -> None:
        answer = await post(client, sent)
        assert answer.status == 400
        assert (await answer.json())["problems"][0]["index"] == 0
        assert store.batches == []

    at_the_door(visit)


def test_a_thousand_and_one_messages_are_too_many() -> None:
    async def visit(client: Client, store: Store) -> None:
        answer = await post(client, json.dumps([event("refund.requested")] * 1001).encode())
        assert answer.status == 400
        assert (await answer.json())["problems"][0]["field"] == "body"
        assert store.batches == []

    at_the_door(visit)


def test_a_store_that_is_down_is_a_503_that_tells_nothing_of_it() -> None:
    async def visit(client: Client, store: Store) -> None:
        store.down = True
        answer = await post(client, body("order.paid"))
        assert answer.status == 503
        told = await answer.text()
        assert "nothing was stored" in told
        assert "db.example" not in told

    at_the_door(visit)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "Bearer 令牌"],
)
def test_nobody_enters_without_the_token(header: str | None) -> None:
    async def visit(client: Client, store: Store) -> None:
        headers = {} if header is None else {"Authorization": header}
        for answer in (
            await client.post("/am/messages", data=body("order.paid"), headers=headers),
            await client.get("/am/vault-key", headers=headers),
        ):
            assert answer.status == 401
            assert TOKEN not in await answer.text()
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert store.batches == []

    at_the_door(visit)


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent() -> None:
    async def visit(client: Client, store: Store) -> None:
        assert client.server.port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
        head = f"POST /am/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Content-Length: {MAX_REQUEST_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert store.batches == []

    at_the_door(visit)


def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    async def visit(client: Client, store: Store) -> None:
        assert client.server.port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
        writer.write(
            f"POST /am/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        piece = b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"
        for _ in range(11):  # the last piece never comes: the answer does not wait for it
            writer.write(piece)
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        assert store.batches == []

    at_the_door(visit)


def test_ten_megabytes_are_taken() -> None:
    async def visit(client: Client, store: Store) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            sent = body("order.paid")
            yield sent
            yield b" " * (MAX_REQUEST_BYTES - len(sent))

        answer = await post(client, pieces())
        assert answer.status == 202

    at_the_door(visit)


def test_the_vault_key_is_told() -> None:
    async def visit(client: Client, _: Store) -> None:
        answer = await client.get("/am/vault-key", headers={"Authorization": f"bearer  {TOKEN}"})
        assert (answer.status, await answer.json()) == (200, {"key_id": "k1", "public_key": "A" * 43})

    at_the_door(visit)


def test_a_door_without_a_token_is_never_opened() -> None:
    with pytest.raises(ValueError, match="AM_TOKEN is empty"):
        create_door(Store().accept, lambda: ("k1", "A" * 43), Secret(""))
