"""The agents' door's way to the database: what arrives while one transaction commits is answered by the next, together.

What came before with the same bytes has a lane of its own: it gathers for GATHER_S and is answered from one read, begun after it
came, so that clients which repeat for ever cost next to nothing and hold up nobody's new request. What turns out to have something
to do joins the others, which go into one write. Wake-ups follow the commit and nobody waits for them: without a broker the relay
finds the rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog

from pipeline import agent_requests
from pipeline.acceptance import Limits
from pipeline.agent_asks import AgentAsk, AgentReply, DeskUnavailable, Listing
from pipeline.agent_requests import Orders
from pipeline.broker.messages import wake_messages
from pipeline.broker.port import BrokerUnavailable, Outbox, Unroutable
from pipeline.ports import Clock
from pipeline.requests import ERR_WORDS, ErrCode
from pipeline.secret import Secret
from pipeline.stage import MAX_BATCH, Executor
from pipeline.store import agent_keys, queries_agents
from pipeline.store.agent_keys import KeyKind, SealedKey
from pipeline.store.clock import now
from pipeline.store.engine import Store, StoreUnavailable, Transaction
from pipeline.vault import KeyRing, VaultError
from schemas.orders import OrderPaid
from schemas.tts_orders import order_object

log = structlog.get_logger()
T = TypeVar("T")

KEY_TTL_S = 5.0
MAX_WAITING = 5_000  # requests in memory; beyond it they are sent back at once
GATHER_S = 0.02  # at 1,000 repeats a second a read for every one of them would be most of the work
MAX_WAKING = 8  # publishes under way; beyond it wake-ups are left to the relay
_NOT_STORED = AgentReply(ErrCode.NOT_STORED, ERR_WORDS[ErrCode.NOT_STORED])

Waiting = tuple[AgentAsk, "asyncio.Future[AgentReply]"]


class _Keys(NamedTuple):
    """The keys that an agent may sign with; `until`, monotonic, they need not be read again."""

    keys: tuple[Secret, ...]
    until: float


class AgentDesk:
    """The port `Desk` on a store. One per process."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        outbox: Outbox,
        clock: Clock,
        service_keys: KeyRing,
        limits: Limits,
        repeat_window_s: float,
    ) -> None:
        self._store, self._executor, self._outbox, self._clock = store, executor, outbox, clock
        self._keys, self._limits, self._repeat_window_s = service_keys, limits, repeat_window_s
        self._waiting: deque[Waiting] = deque()
        self._repeated: deque[Waiting] = deque()
        self._known: dict[str, _Keys] = {}  # agents that exist
        self._asked: dict[str, asyncio.Future[tuple[Secret, ...]]] = {}
        self._working: asyncio.Task[None] | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waking: set[asyncio.Task[None]] = set()

    async def ask(self, ask: AgentAsk, *, again: bool = False) -> AgentReply:
        """Raises DeskUnavailable where it is not known to be stored."""
        if len(self._waiting) + len(self._repeated) >= MAX_WAITING:
            raise DeskUnavailable("too many requests wait for the database")
        answer: asyncio.Future[AgentReply] = asyncio.get_running_loop().create_future()
        if again:
            self._repeated.append((ask, answer))
            if self._gathering is None:
                self._gathering = asyncio.create_task(self._gather())
        else:
            self._enqueue((ask, answer))
        return await answer

    def _enqueue(self, *waiting: Waiting) -> None:
        self._waiting.extend(waiting)
        if self._waiting and self._working is None:
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(_taken(self._waiting))
        finally:
            self._working = None

    async def _gather(self) -> None:
        try:
            while self._repeated:
                await asyncio.sleep(GATHER_S)
                await self._answer_repeats(_taken(self._repeated))
        finally:
            self._gathering = None

    async def _answer_repeats(self, batch: list[Waiting]) -> None:
        asks = list({id(ask): ask for ask, _ in batch}.values())  # the door reads the same bytes into the same object
        window_s = self._repeat_window_s

        def read(tx: Transaction) -> list[AgentReply | None]:
            return agent_requests.look(tx, asks, window_s).replies

        try:
            replies = await self._executor.run(lambda: self._store.peek(read))
        except Exception as error:  # noqa: BLE001 - whatever it is, everybody who waits is answered "send again"
            _send_back(batch, error)
            return
        reply_of = {id(ask): reply for ask, reply in zip(asks, replies, strict=True)}
        for ask, answer in batch:
            reply = reply_of[id(ask)]
            if reply is None:
                self._enqueue((ask, answer))
            elif not answer.done():
                answer.set_result(reply)
        log.info("agent_repeats", requests=len(batch), different=len(asks), to_do=sum(one is None for one in replies))

    async def _answer(self, batch: list[Waiting]) -> None:
        asks = [ask for ask, _ in batch]
        try:
            replies, wakes = await self._executor.run(lambda: self._replies(asks))
        except Exception as error:  # noqa: BLE001 - whatever it is, everybody who waits is answered "send again"
            _send_back(batch, error)
            return
        for (_, answer), reply in zip(batch, replies, strict=True):
            if not answer.done():
                answer.set_result(reply)
        refused = sum(reply.err_code is not None for reply in replies)
        log.info("agent_requests", requests=len(batch), repeats=sum(one.repeat for one in replies), refused=refused)
        self._wake(wakes)

    def _replies(self, asks: Sequence[AgentAsk]) -> tuple[list[AgentReply], dict[str, str]]:
        """On the executor's thread. Raises StoreUnavailable."""
        window_s = self._repeat_window_s
        seen = self._store.peek(lambda tx: agent_requests.look(tx, asks, window_s))
        done, wakes = self._act(
            [ask for ask, reply in zip(asks, seen.replies, strict=True) if reply is None], seen.orders
        )
        replies = iter(done)
        return [next(replies) if reply is None else reply for reply in seen.replies], wakes

    def _act(self, asks: Sequence[AgentAsk], seen: Orders) -> tuple[list[AgentReply], dict[str, str]]:
        """All in one transaction; where that fails, in halves, so that one bad request harms nobody else's."""
        if not asks:
            return [], {}
        try:
            done = self._store.write(
                lambda tx: agent_requests.act_all(tx, asks, self._limits, self._repeat_window_s, seen)
            )
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - nobody named it: this one request is answered "send again"
            if len(asks) > 1:
                half = len(asks) // 2
                first, second = self._act(asks[:half], seen), self._act(asks[half:], seen)
                return first[0] + second[0], first[1] | second[1]
            log.error("agent_request_failed", order=asks[0].order_no, kind=asks[0].kind, error=type(error).__name__)
            return [_NOT_STORED], {}
        return done.value, done.wakes

    def _wake(self, wakes: dict[str, str]) -> None:
        if not wakes:
            return
        if len(self._waking) >= MAX_WAKING:
            log.warning("wakeups_left_to_relay", messages=len(wakes), error="publishing is slow")
            return
        task = asyncio.create_task(self._publish(wakes))
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _publish(self, wakes: dict[str, str]) -> None:
        try:
            await self._outbox.publish(wake_messages(wakes))
        except (BrokerUnavailable, Unroutable) as error:
            log.warning("wakeups_left_to_relay", messages=len(wakes), error=str(error))

    async def merchant_keys(self, code: str) -> tuple[Secret, ...]:
        """Agents that exist are kept for some seconds, and no longer than each of their keys is good; unknown ones are asked for
        together, one read at a time."""
        known = self._known.get(code)
        if known is not None and known.until > self._clock.monotonic():
            return known.keys
        asked = self._asked.get(code)
        if asked is None:
            if len(self._asked) >= MAX_WAITING:
                raise DeskUnavailable("too many requests wait for the database")
            asked = self._asked[code] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_keys())
        return await asyncio.shield(asked)

    async def _read_keys(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._look_up(asked)
        finally:
            self._reading = None

    async def _look_up(self, asked: dict[str, asyncio.Future[tuple[Secret, ...]]]) -> None:
        try:
            found = await self._executor.run(lambda: self._store.peek(lambda tx: self._keys_of(tx, list(asked))))
        except Exception as error:  # noqa: BLE001 - whatever it is, everybody who waits is answered "send again"
            known = isinstance(error, StoreUnavailable | VaultError)
            why = str(error) if known else type(error).__name__
            log.error("merchant_keys_not_read", error=why)
            for answer in asked.values():
                answer.set_exception(DeskUnavailable(why))
                answer.exception()  # whoever asked may have gone
            return
        for code, answer in asked.items():
            keys = found.get(code)
            if keys is None:
                self._known.pop(code, None)
            else:
                self._known[code] = keys
            answer.set_result(() if keys is None else keys.keys)

    def _keys_of(self, tx: Transaction, codes: list[str]) -> dict[str, _Keys]:
        wall, monotonic = now(tx), self._clock.monotonic()

        def keys(good: list[SealedKey]) -> _Keys:
            ends = [(each.ends_at - wall).total_seconds() for each in good if each.ends_at is not None]
            until = monotonic + min([KEY_TTL_S, *ends])
            return _Keys(tuple(self._keys.open(each.sealed) for each in good), until)

        return {code: keys(found) for code, found in agent_keys.good(tx, codes, KeyKind.MERCHANT).items()}

    async def orders(self, agent: str, listing: Listing) -> list[dict[str, Any]]:
        """Raises DeskUnavailable."""
        query = queries_agents.waiting_orders if listing == "WAIT_TICKET" else queries_agents.refund_requests
        return await self._read(
            lambda tx: [order_object(OrderPaid.model_validate(row, strict=False)) for row in query(tx, agent)]
        )

    async def _read(self, query: Callable[[Transaction], T]) -> T:
        try:
            return await self._executor.run(lambda: self._store.peek(query))
        except StoreUnavailable as error:
            raise DeskUnavailable(str(error)) from error

    async def close(self) -> None:
        """Wait for what is under way; nothing may be asked any more."""
        while tasks := [
            task for task in (self._gathering, self._working, self._reading, *self._waking) if task is not None
        ]:
            await asyncio.gather(*tasks, return_exceptions=True)


def _taken(queue: deque[Waiting]) -> list[Waiting]:
    """As many as go into one transaction; who has given up waiting is left out."""
    batch = [queue.popleft() for _ in range(min(len(queue), MAX_BATCH))]
    return [one for one in batch if not one[1].done()]


def _send_back(batch: Sequence[Waiting], error: Exception) -> None:
    why = str(error) if isinstance(error, StoreUnavailable) else type(error).__name__
    log.error("agent_requests_not_stored", requests=len(batch), error=why)
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(DeskUnavailable(why))
