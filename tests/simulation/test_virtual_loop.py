"""The harness itself: time that moves by itself, and nothing that leaves it."""

from __future__ import annotations

import asyncio
import time

import pytest

from pipeline.broker.messages import wake_message
from pipeline.broker.port import BrokerUnavailable
from pipeline.cli.simulation.virtual_broker import VirtualBroker
from pipeline.cli.simulation.virtual_loop import Deadlock, LeftVirtualTime, Livelock, run_virtual

KEY = "xcslw1:1:pay"


def test_a_day_of_sleep_takes_no_time_and_wakes_in_order() -> None:
    woken: list[tuple[float, str]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((asyncio.get_running_loop().time(), name))

    async def scenario() -> None:
        await asyncio.gather(sleeper("day", 86_400), sleeper("instant", 0.001), sleeper("hour", 3_600))

    began = time.monotonic()
    run_virtual(scenario)
    assert time.monotonic() - began < 5
    assert woken == [(0.001, "instant"), (3_600, "hour"), (86_400, "day")]


def test_waiting_for_nobody_is_a_deadlock() -> None:
    async def scenario() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run_virtual(scenario)


def test_spinning_in_place_is_a_livelock() -> None:
    async def scenario() -> None:
        while asyncio.get_running_loop().time() < 1:  # noqa: ASYNC110 - it never will be
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        run_virtual(scenario)


def test_threads_and_real_sleeps_are_refused() -> None:
    async def thread() -> None:
        await asyncio.to_thread(print)

    async def sleep() -> None:
        time.sleep(1)  # noqa: ASYNC251 - what is to be refused

    for scenario in (thread, sleep):
        with pytest.raises(LeftVirtualTime):
            run_virtual(scenario)


def test_what_a_dead_consumer_held_comes_back_first_and_marked() -> None:
    async def scenario() -> None:
        broker = VirtualBroker()
        outbox, first = broker.outbox(), broker.inbox("daifu.payment", 2)
        await outbox.publish([wake_message("payment", f"xcslw{n}:1:pay") for n in range(4)])
        taken = await first.take(10)
        assert [delivery.redelivered for delivery in taken] == [False, False]  # the prefetch
        first.ack(taken[:1])
        await first.close()
        again = await broker.inbox("daifu.payment", 10).take(10)
        assert (again[0].body, again[0].redelivered) == (taken[1].body, True)
        assert len(again) == 3

    run_virtual(scenario)


def test_an_ack_on_a_broken_connection_is_void() -> None:
    async def scenario() -> None:
        broker = VirtualBroker()
        inbox = broker.inbox("daifu.payment", 10)
        await broker.outbox().publish([wake_message("payment", KEY)])
        taken = await inbox.take(10)
        broker.break_connections()
        inbox.ack(taken)
        assert [delivery.redelivered for delivery in await inbox.take(10)] == [True]

    run_virtual(scenario)


def test_a_publish_may_fail_before_or_after_it_arrived() -> None:
    async def scenario() -> None:
        broker = VirtualBroker()
        broker.bad_day.publish_faults.extend(["before", "after"])
        for expected in (0, 1):
            with pytest.raises(BrokerUnavailable):
                await broker.outbox().publish([wake_message("payment", KEY)])
            assert broker.published["daifu.payment"] == expected

    run_virtual(scenario)
