"""What an order and a batch cost the broker, counted: messages, acks, rounds of confirms. Counts do not depend on the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from pipeline.broker.port import Delivery, Outgoing
from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import AGENT, PRICE_FEN
from pipeline.cli.simulation.virtual_broker import VirtualInbox, VirtualOutbox

STAGES = ("credentials", "payment", "settlement", "notification")
ORDERS = 100
#: Rounds of confirms of a batch that goes through everything: one per stage and hop, and the relay's for results.
MOST_ROUNDS = 16
#: Batches of a stage: all orders come at once, so a few; never one per order.
MOST_BATCHES = 4


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The messages of each publish, in their order."""
    counted: list[int] = []
    publish = VirtualOutbox.publish

    async def counting(outbox: VirtualOutbox, messages: Sequence[Outgoing]) -> None:
        counted.append(len(messages))
        await publish(outbox, messages)

    monkeypatch.setattr(VirtualOutbox, "publish", counting)
    return counted


@pytest.fixture
def acks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of `ack` by queue; each is one multiple ack where it covers everything up to the last."""
    counted: Counter[str] = Counter()
    ack = VirtualInbox.ack

    def counting(inbox: VirtualInbox, deliveries: Sequence[Delivery]) -> None:
        counted[inbox.queue] += 1
        ack(inbox, deliveries)

    monkeypatch.setattr(VirtualInbox, "ack", counting)
    return counted


def test_an_order_is_three_results_and_a_batch_is_handed_on_in_a_few_messages_acked_and_confirmed_at_once(
    rounds: list[int], acks: Counter[str]
) -> None:
    async def scenario(house: House) -> None:
        house.top_up(AGENT, ORDERS * PRICE_FEN)
        for number in range(ORDERS):
            await house.buy(f"n{number:03d}")
        sent = len(rounds)
        await house.rest(10.0)
        published = house.broker.published
        wake_ups = {stage: published[f"daifu.{stage}"] for stage in STAGES}
        assert all(1 <= count <= MOST_BATCHES for count in wake_ups.values()), wake_ups  # one for each batch handed on
        assert published["daifu.am"] == 3 * ORDERS
        assert len(rounds) - sent <= MOST_ROUNDS, rounds
        assert all(acks[f"daifu.{stage}"] <= MOST_BATCHES for stage in STAGES), acks

    simulate(scenario)
