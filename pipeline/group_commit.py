"""Many calls await one transaction (spike-costs section 6). No timer: while one batch commits, the next gathers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from pipeline.stage import MAX_BATCH
from pipeline.store.engine import StoreUnavailable

Item = TypeVar("Item")
Given = TypeVar("Given")

MAX_ITEMS = MAX_BATCH  # what was claimed together is written together


class GroupCommit(Generic[Item, Given]):
    """Collects what concurrent calls want written, and hands it over together.

    `commit` writes a batch in one transaction and returns an answer for each item, in their order; an answer that is an
    exception is raised to the call that asked. A batch that fails is tried again in halves, unless the database is gone.
    """

    def __init__(self, commit: Callable[[list[Item]], Awaitable[Sequence[Given | Exception]]]) -> None:
        self._write = commit
        self._waiting: deque[tuple[Item, asyncio.Future[Given]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def do(self, item: Item) -> Given:
        """Have it written; its answer. Cancelled before its batch is taken, it is withdrawn; after that it is written."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Given] = loop.create_future()
        self._waiting.append((item, answer))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._commit_all())
        return await answer

    async def _commit_all(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_ITEMS))]
            await self._commit([waiting for waiting in taken if not waiting[1].cancelled()])

    async def _commit(self, batch: list[tuple[Item, asyncio.Future[Given]]]) -> None:
        if not batch:
            return
        try:
            answers = await self._write([item for item, _answer in batch])
        except Exception as error:  # noqa: BLE001 - every caller must get an answer
            if len(batch) == 1 or isinstance(error, StoreUnavailable):
                for _item, future in batch:
                    _give(future, error)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
            return
        for (_item, future), answer in zip(batch, answers, strict=True):
            _give(future, answer)


def _give(future: asyncio.Future[Given], answer: Given | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
