"""The relay's eraser: what PII_DAYS promises, a batch at a time. Several may run; each erasure is a guarded write."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Final

import structlog

from pipeline.stage import Executor
from pipeline.store import retention
from pipeline.store.engine import Store, StoreUnavailable

log = structlog.get_logger()

AT_ONCE: Final = 200  # orders in one transaction
BETWEEN_S: Final = 1.0  # between two batches: the database has other things to do
LOOK_S: Final = 600.0


class Eraser:
    """`run` erases until stopped."""

    def __init__(self, store: Store, executor: Executor, days: int) -> None:
        self._store, self._executor, self._keep = store, executor, timedelta(days=days)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        while not self._stopping.is_set():
            wait_s = LOOK_S
            try:
                done = await self._executor.run(
                    lambda: self._store.write(lambda tx: retention.erase(tx, self._keep, AT_ONCE))
                )
                if done.value:
                    log.info("personal_data_erased", rows=done.value, older_than_days=self._keep.days)
                    wait_s = BETWEEN_S
            except StoreUnavailable as error:
                log.warning("erasing_waits_for_database", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
