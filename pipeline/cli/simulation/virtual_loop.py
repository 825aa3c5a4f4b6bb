"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer. One thread, no sleeping, no sockets.

What would leave virtual time (a thread, a real sleep, a name lookup) is refused by name, so that a run is the same run every time.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar
from unittest.mock import patch

T = TypeVar("T")

MOST_STEPS_IN_PLACE = 200_000  # turns of the loop without time moving: somebody is spinning


class Deadlock(BaseException):
    """Nothing is ready and no timer is set: everybody waits for everybody."""


class Livelock(BaseException):
    """The loop turns and turns and time stands still."""


class LeftVirtualTime(BaseException):
    """Something used a thread or a real sleep."""


class _NoDescriptors(selectors.BaseSelector):
    """Watches nothing; `select` is where the loop would wait, so it is where time moves."""

    def __init__(self) -> None:
        self.wait: Callable[[float | None], None] = lambda _timeout: None
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.wait(timeout)
        return []

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only when there is nothing else to do."""

    def __init__(self) -> None:
        selector = _NoDescriptors()
        selector.wait = self._wait
        self._now = 0.0
        self._steps = 0
        super().__init__(selector)
        self._thread = threading.get_ident()

    def time(self) -> float:
        return self._now

    def _wait(self, timeout: float | None) -> None:
        if timeout is None:
            raise Deadlock(
                f"at {self._now:.3f} s; waiting: {sorted(str(t.get_coro()) for t in asyncio.all_tasks(self))}"
            )
        if timeout <= 0:
            self._steps += 1
            if self._steps > MOST_STEPS_IN_PLACE:
                raise Livelock(f"at {self._now:.3f} s")
            return
        self._steps = 0
        # Exactly the timer's own moment: a sum of floats could stop just short of it.
        when = self._scheduled[0].when()  # type: ignore[attr-defined]  # asyncio's heap of timers
        self._now = max(self._now, when)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]  # whatever comes
        if threading.get_ident() != self._thread:
            raise LeftVirtualTime("another thread calls into the loop")
        return super().call_soon_threadsafe(*args, **kwargs)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # type: ignore[override]  # refused
        raise LeftVirtualTime(f"{func} would run on a thread")

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise LeftVirtualTime("a name would be looked up")


def _no_real_sleep(seconds: float) -> NoReturn:
    raise LeftVirtualTime(f"time.sleep({seconds})")


def run_virtual(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in virtual time. Raises Deadlock, Livelock, LeftVirtualTime."""
    with patch.object(time, "sleep", _no_real_sleep), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario())
