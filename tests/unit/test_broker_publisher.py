"""Confirms belong to delivery tags; every doubt ends in an error for exactly the callers it concerns."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.broker.port import BrokerUnavailable, Outgoing, Unroutable
from pipeline.broker.publisher import Confirmer, _Request

A = Outgoing("daifu", "wake.payment", b"a")
B = Outgoing("daifu", "wake.settlement", b"b")


class FakeChannel:
    """Notes publishes; `on_publish` may answer at once, as py-amqp does while it sends."""

    def __init__(self) -> None:
        self.events: dict[str, set[Any]] = defaultdict(set)
        self.published: list[tuple[bytes, dict[str, Any]]] = []
        self.on_publish: Callable[[int], None] = lambda tag: None

    def confirm_select(self) -> None: ...

    def basic_publish(self, message: Any, **how: Any) -> None:
        self.published.append((message.body, how | message.properties))
        self.on_publish(len(self.published))

    def say(self, event: str, *arguments: object) -> None:
        for handler in self.events[event]:
            handler(*arguments)


class Desk:
    """A confirmer with its fake channel, and requests whose ends can be read."""

    def __init__(self, confirm_timeout_s: float = 5.0) -> None:
        self.loop = asyncio.get_running_loop()
        self.confirmer = Confirmer(confirm_timeout_s)
        self.channel = self.open()

    def open(self) -> FakeChannel:
        channel = FakeChannel()
        self.connection = SimpleNamespace(channel=lambda: channel)
        self.confirmer.opened(self.connection)
        return channel

    def ask(self, *messages: Outgoing) -> asyncio.Future[None]:
        request = _Request(messages, self.loop, self.loop.create_future())
        self.confirmer.waiting.append(request)
        return request.done

    async def ends(self, *futures: asyncio.Future[None]) -> list[str]:
        await asyncio.sleep(0)
        return [
            "open" if not it.done() else type(it.exception()).__name__ if it.exception() else "ok" for it in futures
        ]


def run(scenario: Callable[[Desk], Any], confirm_timeout_s: float = 5.0) -> Any:
    async def main() -> Any:
        return await scenario(Desk(confirm_timeout_s))

    return asyncio.run(main())


def test_messages_are_mandatory_and_persistent() -> None:
    async def scenario(desk: Desk) -> None:
        desk.ask(A)
        desk.confirmer.turn()
        assert desk.channel.published == [
            (
                b"a",
                {
                    "exchange": "daifu",
                    "routing_key": "wake.payment",
                    "mandatory": True,
                    "content_type": "application/json",
                    "delivery_mode": 2,
                },
            )
        ]

    run(scenario)


def test_a_multiple_confirm_covers_every_tag_up_to_it_and_a_single_one_only_itself() -> None:
    async def scenario(desk: Desk) -> None:
        done = desk.ask(A, A, A, A)
        desk.confirmer.turn()
        desk.channel.say("basic_ack", 4, False)
        desk.channel.say("basic_ack", 2, True)
        desk.confirmer.turn()
        assert await desk.ends(done) == ["open"]
        desk.channel.say("basic_ack", 3, False)
        desk.confirmer.turn()
        assert await desk.ends(done) == ["ok"]

    run(scenario)


def test_callers_that_come_while_a_round_is_open_join_the_next_one_together() -> None:
    async def scenario(desk: Desk) -> None:
        first = desk.ask(A)
        desk.confirmer.turn()
        later = [desk.ask(B), desk.ask(A)]
        desk.confirmer.turn()
        assert len(desk.channel.published) == 1
        desk.channel.say("basic_ack", 1, False)
        desk.confirmer.turn()
        assert len(desk.channel.published) == 3
        desk.channel.say("basic_ack", 3, True)
        desk.confirmer.turn()
        assert await desk.ends(first, *later) == ["ok", "ok", "ok"]
        assert desk.confirmer.idle()

    run(scenario)


def test_confirms_that_arrive_while_sending_are_counted() -> None:
    async def scenario(desk: Desk) -> None:
        desk.channel.on_publish = lambda tag: desk.channel.say("basic_ack", tag, False)
        done = desk.ask(A, B)
        desk.confirmer.turn()
        assert await desk.ends(done) == ["ok"]

    run(scenario)


def test_silence_is_doubt_and_costs_the_connection() -> None:
    async def scenario(desk: Desk) -> None:
        done = desk.ask(A)
        with pytest.raises(BrokerUnavailable, match="1 messages unconfirmed, silence for 0 s"):
            desk.confirmer.turn()
        desk.confirmer.lost("silence")
        assert await desk.ends(done) == ["BrokerUnavailable"]

    run(scenario, confirm_timeout_s=0.0)


def test_a_memory_or_disk_alarm_is_named_as_the_cause_of_silence() -> None:
    async def scenario(desk: Desk) -> None:
        desk.connection.on_blocked("connection blocked, see broker logs")
        desk.ask(A)
        with pytest.raises(BrokerUnavailable, match="connection blocked"):
            desk.confirmer.turn()

    run(scenario, confirm_timeout_s=0.0)


def test_a_refusal_costs_the_connection_and_fails_its_round_but_not_those_who_wait() -> None:
    async def scenario(desk: Desk) -> None:
        refused = desk.ask(A)
        desk.confirmer.turn()
        waiting = desk.ask(B)
        with pytest.raises(BrokerUnavailable, match="nack"):
            desk.channel.say("basic_nack", 1, False)
        desk.confirmer.lost("nack")
        assert await desk.ends(refused, waiting) == ["BrokerUnavailable", "open"]
        channel = desk.open()
        desk.confirmer.turn()
        channel.say("basic_ack", 1, False)
        desk.confirmer.turn()
        assert await desk.ends(waiting) == ["ok"]

    run(scenario)


def test_a_returned_message_is_unroutable_though_it_is_confirmed_and_others_are_fine() -> None:
    async def scenario(desk: Desk) -> None:
        routed, unroutable = desk.ask(A), desk.ask(A, B)
        desk.confirmer.turn()
        desk.channel.say("basic_return", RuntimeError(), B.exchange, B.routing_key, object())
        desk.channel.say("basic_ack", 3, True)
        desk.confirmer.turn()
        assert await desk.ends(routed, unroutable) == ["ok", "Unroutable"]

    run(scenario)


def test_a_missing_exchange_is_unroutable_for_those_who_used_it_and_doubt_for_the_rest() -> None:
    async def scenario(desk: Desk) -> None:
        lost, unroutable = desk.ask(A), desk.ask(Outgoing("daifu.events", "purchase.settled", b""))
        desk.confirmer.turn()
        desk.confirmer.lost("NOT_FOUND - no exchange 'daifu.events' in vhost 'x'")
        assert await desk.ends(lost, unroutable) == ["BrokerUnavailable", "Unroutable"]

    run(scenario)


def test_no_connection_fails_all_who_wait() -> None:
    async def scenario(desk: Desk) -> None:
        both = [desk.ask(A), desk.ask(B)]
        desk.confirmer.unreachable("refused")
        assert await desk.ends(*both) == ["BrokerUnavailable", "BrokerUnavailable"]

    run(scenario)


def test_a_caller_who_gave_up_before_the_round_is_not_published_for() -> None:
    async def scenario(desk: Desk) -> None:
        desk.ask(A).cancel()
        desk.confirmer.turn()
        assert desk.channel.published == []
        assert desk.confirmer.idle()

    run(scenario)


def test_a_closed_event_loop_does_not_stop_the_others() -> None:
    closed = asyncio.new_event_loop()
    orphan = _Request((A,), closed, closed.create_future())
    closed.close()

    async def scenario(desk: Desk) -> Sequence[str]:
        desk.confirmer.waiting.append(orphan)
        done = desk.ask(B)
        desk.confirmer.turn()
        desk.channel.say("basic_ack", 2, True)
        desk.confirmer.turn()
        return await desk.ends(done)

    assert run(scenario) == ["ok"]


def test_errors_are_our_own() -> None:
    assert issubclass(Unroutable, Exception)
    assert not issubclass(Unroutable, BrokerUnavailable)
