"""The product's relay, spared the rounds in which nothing can be due: hours of virtual time stay cheap."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from pipeline.relay import Relay
from pipeline.store.engine import Store
from pipeline.store.moments import next_moment


class LazyRelay(Relay):
    """`commits` counts what others wrote and `news` is set whenever it grows; `rounded` is called after every real round."""

    def attach(
        self,
        store: Store,
        commits: Callable[[], int],
        news: asyncio.Event,
        rounded: Callable[[], None],
        window_s: float,
    ) -> None:
        self._watched, self._commits, self._rounded, self._window_s = store, commits, rounded, window_s
        self._news = news
        self._seen = -1
        self._due: datetime | None = None

    async def tick(self) -> None:
        await self._something_to_do()
        self._seen = -1  # a round that fails is done again
        began, before = self._watched.clock.now(), self._commits()
        await super().tick()
        self._rounded()
        self._seen = self._commits()
        # What was due and is left after a round that changed nothing waits for somebody else's commit.
        after = began if self._seen == before else None
        self._due = self._watched.read(lambda tx: next_moment(tx, self._window_s, after))

    async def _something_to_do(self) -> None:
        while self._commits() == self._seen:
            wait_s = None if self._due is None else (self._due - self._watched.clock.now()).total_seconds()
            if wait_s is not None and wait_s <= 0:
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)
