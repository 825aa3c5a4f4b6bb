"""What is too much for the agents' door is refused early: size, speed, heads without end, bytes that are no HTTP."""

from __future__ import annotations

import asyncio
import gzip
from urllib.parse import urlencode

import pytest

from pipeline import http_server
from producers import agents_door
from producers.agents_door import MAX_BODY_BYTES
from producers.rate_limit import RateLimit
from tests.unit.agents_visit import NEED_PAY, PURCHASE, Visit, at_the_door, signed

GOOD = urlencode(signed(NEED_PAY)).encode()


class StillClock:
    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> object:
        raise AssertionError("how fast somebody asks is no matter of the time of day")


def head(length: int | None, *more: str) -> bytes:
    lines = [f"POST {PURCHASE} HTTP/1.1", "Host: daifu", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_a_body_over_a_megabyte_is_101_before_it_is_read() -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.send(head(MAX_BODY_BYTES + 1) + b"comment=", within_s=5)
        assert b'"errCode":"101"' in answer
        assert b"close" in answer.lower()

    at_the_door(visit)


def test_a_body_that_hides_its_length_is_cut_at_a_megabyte() -> None:
    async def visit(visit: Visit) -> None:
        chunk = b"%x\r\n" % 100_000 + b"a" * 100_000 + b"\r\n"
        answer = await visit.send(head(None, "Transfer-Encoding: chunked") + chunk * 11, within_s=5)
        assert b'"errCode":"101"' in answer

    at_the_door(visit)


def test_a_body_that_unpacks_to_more_than_a_megabyte_is_cut() -> None:
    bomb = gzip.compress(b"a" * 50_000_000)

    async def visit(visit: Visit) -> None:
        answer = await visit.send(head(len(bomb), "Content-Encoding: gzip") + bomb, within_s=5)
        assert b'"errCode":"101"' in answer

    at_the_door(visit)


def test_a_body_of_a_megabyte_is_read() -> None:
    body = urlencode(signed({**NEED_PAY, "comment": "长" * 100_000})).encode()
    assert 900_000 < len(body) <= MAX_BODY_BYTES

    async def visit(visit: Visit) -> None:
        assert await visit.request(PURCHASE, body) == {"ret": True}

    at_the_door(visit)


def test_a_body_that_never_ends_is_101(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_door, "BODY_S", 0.2)

    async def visit(visit: Visit) -> None:
        answer = await visit.send(head(100) + b"opt=", within_s=5)
        assert b'"errCode":"101"' in answer

    at_the_door(visit)


@pytest.mark.parametrize("sent", [b"", b"POST /api/pub/Process", head(None)[:-2] + b"X-Slow: 1"])
def test_a_head_that_never_ends_closes_the_connection(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http_server, "IDLE_S", 0.3)

    async def visit(visit: Visit) -> None:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await visit.send(sent, within_s=5)

    at_the_door(visit)


@pytest.mark.parametrize(
    "flood",
    [
        [f"X-Flood-{number}: {number}" for number in range(200)],
        ["X-Long: " + "a" * 20_000],
    ],
)
def test_a_flood_of_headers_is_refused_and_the_connection_closed(flood: list[str]) -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.send(head(len(GOOD), *flood) + GOOD, within_s=5)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        assert visit.desk.asked == []

    at_the_door(visit)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00" * 50, b"GET\r\n\r\n", b"\x00" * 5_000 + b"\r\n\r\n"])
def test_bytes_that_are_no_http_are_refused(garbage: bytes) -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.send(garbage, within_s=5)
        assert b" 400 " in answer

    at_the_door(visit)


def test_garbage_behind_a_good_request_harms_only_its_own_connection() -> None:
    async def visit(visit: Visit) -> None:
        answer = await visit.send(head(len(GOOD)) + GOOD + b"\x00\xff garbage \r\n\r\n" * 1_000, within_s=5)
        assert b" 400 " in answer
        assert visit.desk.asked == []
        assert await visit.request(PURCHASE, GOOD) == {"ret": True}

    at_the_door(visit)


def test_pipelined_requests_are_answered_one_by_one() -> None:
    one = head(len(GOOD)) + GOOD

    async def visit(visit: Visit) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", visit.port)
        writer.write(one * 200)
        seen = 0
        async with asyncio.timeout(20):
            while seen < 200:
                seen += (await reader.read(65_536)).count(b'{"ret":true}')
        writer.transport.abort()
        assert seen == len(visit.desk.asked) == 200

    at_the_door(visit)


def test_slow_senders_do_not_keep_others_waiting() -> None:
    async def visit(visit: Visit) -> None:
        slow = [await asyncio.open_connection("127.0.0.1", visit.port) for _ in range(200)]
        for _, writer in slow:
            writer.write(head(1_000) + b"opt=NEED")
        async with asyncio.timeout(3):
            assert await visit.request(PURCHASE, GOOD) == {"ret": True}
        for _, writer in slow:
            writer.transport.abort()

    at_the_door(visit)


def test_an_agent_that_is_too_fast_is_429_and_still_200() -> None:
    async def visit(visit: Visit) -> None:
        codes = [await visit.code(PURCHASE, signed(NEED_PAY)) for _ in range(8)]
        assert codes[:3] == [None, None, None]
        assert "429" in codes[3:]
        assert len(visit.desk.asked) == codes.count(None)

    at_the_door(visit, rate=3.0)


def test_what_is_not_signed_takes_nothing_from_an_agents_rate() -> None:
    async def visit(visit: Visit) -> None:
        for _ in range(10):
            assert await visit.code(PURCHASE, signed(NEED_PAY) | {"HMAC": "0" * 32}) == "103"
        assert await visit.code(PURCHASE, signed(NEED_PAY)) is None

    at_the_door(visit, rate=2.0)


def test_a_rate_refills_by_the_second_and_is_each_agents_own() -> None:
    clock = StillClock()
    limit = RateLimit(2.0, clock)  # type: ignore[arg-type] # only its monotonic time is asked for
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]
    assert limit.allows("b")
    clock.at = 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    clock.at = 1_000.0
    assert [limit.allows("a") for _ in range(3)] == [True, True, False]


def test_a_rate_below_one_still_lets_one_in() -> None:
    clock = StillClock()
    limit = RateLimit(0.5, clock)  # type: ignore[arg-type] # only its monotonic time is asked for
    assert [limit.allows("a"), limit.allows("a")] == [True, False]
