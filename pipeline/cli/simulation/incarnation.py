"""One life of a process: it can die or freeze at any touch of the outside, and nothing of it happens afterwards.

Every port a stage has is wrapped. Each call passes two points, `…:before` and `…:after`; a plan says what happens there. Death
cancels all its tasks and takes its ports away first, so that no `except` and no `finally` can tidy up: a `kill -9`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

DIE = "die"
Act = str | float | Exception | None  # die, freeze for seconds, raise, go on
Plan = Callable[[str, str], Act]  # (stage, point) -> what happens there


class ProcessDied(BaseException):
    """Raised into whatever the dead process was doing; no code of the product catches it."""


def _is_death(error: BaseException | None) -> bool:
    """A death, also as a task group hands it on."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_death(part) for part in error.exceptions)
    return isinstance(error, ProcessDied)


_life: ContextVar[Incarnation | None] = ContextVar("life", default=None)
_call: ContextVar[str] = ContextVar("call", default="")


def current_call() -> str:
    """The name of the port call that runs now."""
    return _call.get()


def task_factory(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Tasks belong to the incarnation whose code made them."""
    task = asyncio.Task(coro, loop=loop, **options)
    life = _life.get()
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.ended)
    return task


class Incarnation:
    """`died` is called once, at its death."""

    def __init__(self, stage: str, worker: str, plan: Plan, died: Callable[[Incarnation], None]) -> None:
        self.stage, self.worker = stage, worker
        self.tasks: set[asyncio.Task[Any]] = set()
        self.failures: list[str] = []  # its own tasks that ended in an exception
        self.dead = False
        self.points: list[str] = []  # the points it passed
        self.calls: Counter[str] = Counter()  # port calls that run now, by name
        self.clock_ahead_s = 0.0  # of the database's clock
        self.subject = ""  # the account or order that the point is about, where there is one
        self._plan, self._died = plan, died
        self._frozen_until = 0.0

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a part of this process."""
        token = _life.set(self)
        try:
            task = asyncio.get_running_loop().create_task(coro)
        finally:
            _life.reset(token)
        task.add_done_callback(self._note_failure)
        return task

    def _note_failure(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not _is_death(error):
            self.failures.append(f"{self.worker}: {error!r}")

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A task is over; one that ended in death takes the process along."""
        self.tasks.discard(task)
        if not task.cancelled() and _is_death(task.exception()):
            self.kill()

    def freeze(self, seconds: float) -> None:
        """The process stands still (a pause of the machine), then goes on as if nothing had been."""
        self._frozen_until = max(self._frozen_until, asyncio.get_running_loop().time() + seconds)

    @property
    def frozen(self) -> bool:
        return asyncio.get_running_loop().time() < self._frozen_until

    def kill(self) -> None:
        """Dead at once, without any cleanup."""
        if self.dead:
            return
        self.dead = True
        for task in list(self.tasks):
            if task is not asyncio.current_task():
                task.cancel()
        self._died(self)

    def at_once(self, point: str) -> None:
        """Pass a point that can't wait."""
        if self.dead:
            raise ProcessDied(self.worker)
        self.points.append(point)
        act = self._plan(self.stage, point)
        if act == DIE:
            self.kill()
            raise ProcessDied(self.worker)
        if isinstance(act, Exception):
            raise act
        if isinstance(act, float):
            self.freeze(act)

    async def at(self, point: str) -> None:
        self.at_once(point)
        while self.frozen:  # noqa: ASYNC110 - it is time that passes
            await asyncio.sleep(self._frozen_until - asyncio.get_running_loop().time())
        if self.dead:
            raise ProcessDied(self.worker)

    async def around(self, name: str, call: Coroutine[Any, Any, T]) -> T:
        """A call with its two points."""
        try:
            await self.at(f"{name}:before")
        except BaseException:
            call.close()
            raise
        token = _call.set(name)
        self.calls[name] += 1
        try:
            value = await call
        finally:
            self.calls[name] -= 1
            _call.reset(token)
        await self.at(f"{name}:after")
        return value
