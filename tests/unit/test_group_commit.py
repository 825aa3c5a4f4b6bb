"""Many calls, few transactions: every caller has its own answer, one bad item fails alone, an outage fails all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pipeline import group_commit
from pipeline.group_commit import GroupCommit
from pipeline.store.engine import StoreUnavailable

Commit = Callable[[list[int]], Awaitable[Sequence[int | Exception]]]


def grouped(commit: Commit, items: Sequence[int]) -> list[int | BaseException]:
    async def main() -> list[int | BaseException]:
        group: GroupCommit[int, int] = GroupCommit(commit)
        return await asyncio.gather(*(group.do(item) for item in items), return_exceptions=True)

    return asyncio.run(main())


def test_calls_that_come_while_a_batch_commits_share_the_next_and_each_has_its_own_answer() -> None:
    batches: list[list[int]] = []
    begun = asyncio.Event()

    async def commit(items: list[int]) -> Sequence[int | Exception]:
        batches.append(items)
        begun.set()
        await asyncio.sleep(0)
        return [item * 10 for item in items]

    async def main() -> None:
        group: GroupCommit[int, int] = GroupCommit(commit)
        first = asyncio.ensure_future(group.do(0))
        await begun.wait()
        later = await asyncio.gather(*(group.do(item) for item in range(1, 5)))
        assert [await first, *later] == [0, 10, 20, 30, 40]

    asyncio.run(main())
    assert batches == [[0], [1, 2, 3, 4]]


def test_a_batch_has_an_end() -> None:
    sizes: list[int] = []

    async def commit(items: list[int]) -> Sequence[int | Exception]:
        sizes.append(len(items))
        return items

    assert grouped(commit, range(group_commit.MAX_ITEMS + 1)) == list(range(group_commit.MAX_ITEMS + 1))
    assert sizes == [group_commit.MAX_ITEMS, 1]


def test_an_item_that_can_not_be_written_fails_alone() -> None:
    async def commit(items: list[int]) -> Sequence[int | Exception]:
        if 2 in items:
            raise ValueError("2 can't be written")
        return items

    zero, one, two, three = grouped(commit, range(4))
    assert (zero, one, three) == (0, 1, 3)
    assert isinstance(two, ValueError)


def test_an_answer_that_is_an_exception_is_raised_to_the_call_that_asked() -> None:
    async def commit(items: list[int]) -> Sequence[int | Exception]:
        return [KeyError(item) if item == 1 else item for item in items]

    zero, one, two = grouped(commit, range(3))
    assert (zero, two) == (0, 2)
    assert isinstance(one, KeyError)


def test_a_database_that_is_gone_is_said_to_all_at_once() -> None:
    tries: list[int] = []

    async def commit(items: list[int]) -> Sequence[int | Exception]:
        tries.append(len(items))
        raise StoreUnavailable("gone")

    assert all(isinstance(answer, StoreUnavailable) for answer in grouped(commit, range(4)))
    assert tries == [4]


def test_who_was_cancelled_before_its_batch_is_not_written_for() -> None:
    written: list[int] = []

    async def commit(items: list[int]) -> Sequence[int | Exception]:
        written.extend(items)
        return items

    async def main() -> None:
        group: GroupCommit[int, int] = GroupCommit(commit)
        gone, stays = asyncio.ensure_future(group.do(1)), asyncio.ensure_future(group.do(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 2

    asyncio.run(main())
    assert written == [2]
