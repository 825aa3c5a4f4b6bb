"""The lane of repeats: many are answered from one read, none holds up a new request, and none is answered from memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import agent_desk
from pipeline.agent_asks import AgentAsk, AgentReply, DeskUnavailable
from pipeline.requests import ErrCode, RequestKind
from pipeline.store import orders, queries_agents
from pipeline.store.engine import StoreUnavailable
from tests.contract.store_subjects import AGENT
from tests.unit.agents_desk import PAY, Desk, with_desk
from tests.unit.message_samples import ORDER_NO, TICKET
from tests.unit.order_world import World, order_world

CONFIRM = AgentAsk(AGENT, ORDER_NO, RequestKind.CONFIRM, detail={"tickets": [TICKET], "account": "agent_user01"})
NO_TICKET = AgentAsk(
    AGENT, ORDER_NO, RequestKind.NO_TICKET, detail={"reason": "1", "words": "", "comment": "", "passenger_reason": []}
)


def test_repeats_that_come_together_are_answered_from_one_read(tmp_path: Path) -> None:
    others = [replace(PAY, order_no=f"order{n}") for n in range(5)]

    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO, *(ask.order_no for ask in others))
        for ask in (PAY, *others):
            assert await desk.desk.ask(ask) == AgentReply()
        desk.reads = desk.writes = 0
        replies = await asyncio.gather(*(desk.desk.ask(ask, again=True) for ask in [PAY, *others] * 30))
        assert replies == [AgentReply(repeat=True)] * 180
        assert (desk.reads, desk.writes) == (1, 0)

    with_desk(tmp_path, story)


def test_more_repeats_than_a_transaction_takes_are_answered_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_desk, "MAX_BATCH", 4)

    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        assert await desk.desk.ask(PAY) == AgentReply()
        desk.reads = 0
        replies = await asyncio.gather(*(desk.desk.ask(PAY, again=True) for _ in range(10)))
        assert replies == [AgentReply(repeat=True)] * 10
        assert desk.reads == 3

    with_desk(tmp_path, story)


def test_a_new_request_does_not_wait_for_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_desk, "GATHER_S", 60.0)

    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO, "second")
        assert await desk.desk.ask(PAY) == AgentReply()
        repeats = [asyncio.create_task(desk.desk.ask(PAY, again=True)) for _ in range(50)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await desk.desk.ask(replace(PAY, order_no="second")) == AgentReply()
        assert not any(repeat.done() for repeat in repeats)
        assert desk.desk._gathering is not None
        desk.desk._gathering.cancel()
        for repeat in repeats:
            repeat.cancel()

    with_desk(tmp_path, story)


def test_a_repeat_that_has_something_to_do_is_done_with_the_new_ones(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        replies = await asyncio.gather(*(desk.desk.ask(PAY, again=True) for _ in range(20)))
        assert sum(not reply.repeat for reply in replies) == 1
        assert all(reply.err_code is None for reply in replies)
        assert desk.world.work() == [(1, "credentials")]
        await desk.desk.close()
        assert len(desk.outbox.published) == 1

    with_desk(tmp_path, story)


def test_a_repeat_is_answered_as_the_order_stands_now(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        assert await desk.desk.ask(PAY) == AgentReply()
        assert await desk.desk.ask(PAY, again=True) == AgentReply(repeat=True)
        assert await desk.desk.ask(NO_TICKET) == AgentReply()
        assert (await desk.desk.ask(PAY, again=True)).err_code is ErrCode.CLOSED
        assert await desk.desk.ask(NO_TICKET, again=True) == AgentReply(repeat=True)

    with_desk(tmp_path, story)


def test_repeats_without_a_database_are_sent_back_and_the_next_are_answered(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        assert await desk.desk.ask(PAY) == AgentReply()
        peek = desk.world.store.peek

        def away(_work: object) -> None:
            raise StoreUnavailable("no database")

        desk.world.store.peek = away  # type: ignore[method-assign, assignment] # the database is away
        asked = await asyncio.gather(*(desk.desk.ask(PAY, again=True) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in asked] == [DeskUnavailable] * 3
        desk.world.store.peek = peek  # type: ignore[method-assign] # and back
        assert await desk.desk.ask(PAY, again=True) == AgentReply(repeat=True)

    with_desk(tmp_path, story)


def test_repeats_that_wait_count_among_what_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_desk, "MAX_WAITING", 3)

    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        asks = (desk.desk.ask(PAY, again=number % 2 == 0) for number in range(5))
        asked = await asyncio.gather(*asks, return_exceptions=True)
        assert [isinstance(one, DeskUnavailable) for one in asked] == [False, False, False, True, True]

    with_desk(tmp_path, story)


def test_what_waits_when_the_desk_closes_is_answered(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        waiting = asyncio.create_task(desk.desk.ask(PAY, again=True))
        await asyncio.sleep(0)
        await desk.desk.close()
        assert waiting.done()
        assert await waiting == AgentReply()
        assert len(desk.outbox.published) == 1

    with_desk(tmp_path, story)


def _paid(world: World) -> None:
    world.hear("order.paid")


def _accepted(world: World) -> None:
    _paid(world)
    world.hear("purchase.need_pay")


def _ended(world: World) -> None:
    _accepted(world)
    world.end_before_intent()


def _asked_back(world: World) -> None:
    _ended(world)
    world.hear("refund.requested")


@pytest.mark.parametrize("stand", [_paid, _accepted, _ended, _asked_back])
def test_the_short_reading_of_an_order_says_what_the_long_one_says(tmp_path: Path, stand: Any) -> None:
    with order_world(tmp_path) as world:
        stand(world)
        short = world.store.read(lambda tx: queries_agents.standing(tx, [ORDER_NO, "nobody's"]))
        long = world.store.read(lambda tx: orders.load(tx, [ORDER_NO]))
    assert list(short) == [ORDER_NO]
    assert orders.facts_of(short[ORDER_NO]) == orders.facts_of(long[ORDER_NO])
    names = ("agent", "content_digest", "concluded_at")
    assert [getattr(short[ORDER_NO], name) for name in names] == [getattr(long[ORDER_NO], name) for name in names]
