"""Where blocking work runs: on threads in production, at once where one thread must do everything in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ThreadExecutor:
    """Database work on a few threads, so that the event loop never waits for a disk."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store")

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


class InlineExecutor:
    """The same, at once: every run is the same run."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def close(self) -> None:
        """Nothing to wait for."""
