"""Files of long lists: one workbook is written at a time, and only for somebody who waits for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.console.exports import Column, in_turn, xlsx_bytes

COLUMNS = (Column("订单号", lambda row: row["order_no"]), Column("金额", lambda row: row["fen"], money=True))


def parts_of_rows(count: int) -> Iterator[list[dict[str, Any]]]:
    for number in range(count):
        yield [{"order_no": f"{number}-{row}", "fen": row} for row in range(10)]


def parts(*given: bytes, log: list[str] | None = None) -> Generator[bytes, None, None]:
    try:
        yield from given
    finally:
        if log is not None:
            log.append("ended")


def test_one_workbook_is_written_at_a_time_and_the_next_one_while_it_is_sent() -> None:
    async def run() -> None:
        turn = asyncio.Semaphore(1)
        one, other = in_turn(turn, parts(b"", b"", b"one", b"more")), in_turn(turn, parts(b"", b"other"))
        assert await anext(one) == b""
        waiting = asyncio.ensure_future(anext(other))
        assert await anext(one) == b""
        assert not waiting.done()
        assert await anext(one) == b"one"
        assert await waiting == b""
        assert [part async for part in one] == [b"more"]
        assert [part async for part in other] == [b"other"]

    asyncio.run(run())


def test_who_leaves_before_the_workbook_is_written_gives_the_turn_to_the_next() -> None:
    async def run() -> None:
        turn = asyncio.Semaphore(1)
        log: list[str] = []
        left, other = in_turn(turn, parts(b"", b"", b"left", log=log)), in_turn(turn, parts(b"", b"other"))
        await anext(left)
        waiting = asyncio.ensure_future(anext(other))
        await left.aclose()
        assert log == ["ended"]
        assert await waiting == b""
        await other.aclose()

    asyncio.run(run())


def test_a_workbook_asks_after_each_part_of_its_rows_and_leaves_nothing_behind_when_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    book = xlsx_bytes(COLUMNS, parts_of_rows(3))
    assert [next(book) for _ in range(3)] == [b""] * 3
    assert list(tmp_path.iterdir())
    book.close()
    assert not list(tmp_path.iterdir())
    whole = b"".join(xlsx_bytes(COLUMNS, parts_of_rows(3)))
    assert whole.startswith(b"PK")
    assert not list(tmp_path.iterdir())
