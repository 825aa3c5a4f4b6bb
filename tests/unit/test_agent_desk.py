"""The desk between door and database: batches, one bad request among good ones, a broker and a database that are away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import agent_desk, agent_requests
from pipeline.agent_asks import AgentAsk, AgentReply, DeskUnavailable
from pipeline.requests import ErrCode, RequestKind
from pipeline.store.engine import StoreUnavailable, Transaction
from tests.contract.store_subjects import AGENT
from tests.unit.agents_desk import KEY, PAY, Desk, with_desk
from tests.unit.message_samples import ORDER_NO


def test_requests_that_arrive_together_share_one_transaction(tmp_path: Path) -> None:
    names = [f"order{n}" for n in range(20)]

    async def story(desk: Desk) -> None:
        desk.order(*names)
        desk.reads = desk.writes = 0
        replies = await asyncio.gather(*(desk.desk.ask(replace(PAY, order_no=name)) for name in names))
        assert replies == [AgentReply()] * 20
        assert desk.writes <= 2
        await desk.desk.close()
        assert {message.routing_key for message in desk.outbox.published} == {"wake.credentials"}

    with_desk(tmp_path, story)


def test_repeats_never_write(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        assert await desk.desk.ask(PAY) == AgentReply()
        desk.writes = 0
        replies = await asyncio.gather(*(desk.desk.ask(PAY) for _ in range(100)))
        assert replies == [AgentReply(repeat=True)] * 100
        assert desk.writes == 0
        assert desk.world.order().generation == 1

    with_desk(tmp_path, story)


def test_the_same_request_many_times_at_once_opens_one_purchase(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        replies = await asyncio.gather(*(desk.desk.ask(PAY) for _ in range(50)))
        assert sum(not reply.repeat for reply in replies) == 1
        assert all(reply.err_code is None for reply in replies)
        assert desk.world.order().generation == 1

    with_desk(tmp_path, story)


def test_one_request_that_breaks_is_sent_back_and_the_others_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_all = agent_requests.act_all

    def broken(tx: Transaction, asks: Sequence[AgentAsk], *rest: Any) -> list[AgentReply]:
        replies = act_all(tx, asks, *rest)
        if any(ask.order_no == "order3" for ask in asks):
            raise ZeroDivisionError
        return replies

    monkeypatch.setattr(agent_requests, "act_all", broken)
    names = [f"order{n}" for n in range(8)]

    async def story(desk: Desk) -> None:
        desk.order(*names)
        replies = await asyncio.gather(*(desk.desk.ask(replace(PAY, order_no=name)) for name in names))
        codes = [reply.err_code for reply in replies]
        assert codes == [None] * 3 + [ErrCode.NOT_STORED] + [None] * 4

    with_desk(tmp_path, story)


@pytest.mark.parametrize("kind", ["down", "stuck"])
def test_a_request_is_accepted_without_a_broker(tmp_path: Path, kind: str) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        if kind == "down":
            desk.outbox.down = True
        else:
            desk.outbox.stuck = asyncio.Event()
        async with asyncio.timeout(5):
            assert await desk.desk.ask(PAY) == AgentReply()
        assert desk.world.work() == [(1, "credentials")]
        if desk.outbox.stuck is not None:
            desk.outbox.stuck.set()

    with_desk(tmp_path, story)


def test_a_broker_that_hangs_holds_only_so_many_publishes(tmp_path: Path) -> None:
    names = [f"order{n}" for n in range(agent_desk.MAX_WAKING + 4)]

    async def story(desk: Desk) -> None:
        desk.order(*names)
        desk.outbox.stuck = asyncio.Event()
        for name in names:
            assert await desk.desk.ask(replace(PAY, order_no=name)) == AgentReply()
        assert len(desk.desk._waking) == agent_desk.MAX_WAKING
        desk.outbox.stuck.set()
        await desk.desk.close()
        assert len(desk.outbox.published) == agent_desk.MAX_WAKING

    with_desk(tmp_path, story)


def test_without_a_database_everybody_is_sent_back_and_the_next_is_served(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        peek = desk.world.store.peek

        def away(_work: object) -> None:
            raise StoreUnavailable("no database")

        desk.world.store.peek = away  # type: ignore[method-assign, assignment] # the database is away
        asked = await asyncio.gather(*(desk.desk.ask(PAY) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in asked] == [DeskUnavailable] * 3
        with pytest.raises(DeskUnavailable):
            await desk.desk.merchant_keys(AGENT)
        with pytest.raises(DeskUnavailable):
            await desk.desk.orders(AGENT, "WAIT_TICKET")
        desk.world.store.peek = peek  # type: ignore[method-assign] # and back
        assert await desk.desk.ask(PAY) == AgentReply()

    with_desk(tmp_path, story)


def test_more_than_can_wait_is_sent_back_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_desk, "MAX_WAITING", 3)

    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO)
        asked = await asyncio.gather(*(desk.desk.ask(PAY) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, DeskUnavailable) for one in asked) == 2

    with_desk(tmp_path, story)


def test_keys_are_kept_for_seconds_and_unknown_agents_are_asked_for_together(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.reads = 0
        keys = await asyncio.gather(*(desk.desk.merchant_keys(AGENT) for _ in range(10)))
        assert [key.reveal() for (key,) in keys] == [KEY] * 10
        assert desk.reads == 1
        unknown = await asyncio.gather(*(desk.desk.merchant_keys(f"nobody{n}") for n in range(200)))
        assert set(unknown) == {()}
        assert desk.reads <= 3
        desk.world.clock.move(agent_desk.KEY_TTL_S + 1)
        await desk.desk.merchant_keys(AGENT)
        assert desk.reads <= 4

    with_desk(tmp_path, story)


def test_an_agent_that_was_just_added_is_known_at_once(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        assert await desk.desk.merchant_keys("late") == ()
        sealed = desk.ring.seal("another key")
        added = text(
            "INSERT INTO agents (code, callback_url, merchant_key_sealed, webhook_secret_sealed, created_at)"
            " VALUES ('late', 'https://agent.example/', :s, 'sealed', 0)"
        )
        desk.world.store.write(lambda tx: tx.run(added, {"s": sealed}))
        (key,) = await desk.desk.merchant_keys("late")
        assert key.reveal() == "another key"

    with_desk(tmp_path, story)


def test_waiting_orders_are_those_that_may_still_be_ticketed(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.order(ORDER_NO, "second")

        async def listed() -> list[str]:
            return [order["orderNo"] for order in await desk.desk.orders(AGENT, "WAIT_TICKET")]

        assert await listed() == [ORDER_NO, "second"]
        assert await desk.desk.orders("someone", "WAIT_TICKET") == []
        await desk.desk.ask(PAY)
        assert await listed() == ["second"]
        desk.world.end_before_intent()
        assert await listed() == [ORDER_NO, "second"]
        desk.world.hear("refund.requested", order_no="second")
        assert await listed() == [ORDER_NO]
        refunds = await desk.desk.orders(AGENT, "APPLY_REFUND")
        assert [order["orderNo"] for order in refunds] == ["second"]
        desk.world.hear("refund.closed", order_no="second", granted=False)
        assert await listed() == [ORDER_NO, "second"]
        assert await desk.desk.orders(AGENT, "APPLY_REFUND") == []
        detail = {"reason": "1", "words": "", "comment": "", "passenger_reason": []}
        await desk.desk.ask(AgentAsk(AGENT, ORDER_NO, RequestKind.NO_TICKET, detail=detail))
        assert await listed() == ["second"]

    with_desk(tmp_path, story)
