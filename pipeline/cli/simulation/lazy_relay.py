"""The product's relay, spared the rounds in which nothing can be due: hours of virtual time stay cheap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pipeline.relay import Relay
from pipeline.store.engine import Store
from pipeline.store.moments import next_moment


class LazyRelay(Relay):
    """`commits` counts what others wrote; `rounded` is called after every real round."""

    def attach(self, store: Store, commits: Callable[[], int], rounded: Callable[[], None], window_s: float) -> None:
        self._watched, self._commits, self._rounded, self._window_s = store, commits, rounded, window_s
        self._seen = -1
        self._due: datetime | None = None

    async def tick(self) -> None:
        now = self._watched.clock.now()
        if self._commits() == self._seen and (self._due is None or now < self._due):
            return
        self._seen = -1  # a round that fails is done again
        await super().tick()
        self._rounded()
        self._seen = self._commits()
        self._due = self._watched.read(lambda tx: next_moment(tx, self._window_s))
