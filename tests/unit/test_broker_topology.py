"""The topology is data: what it promises can be read off it."""

from __future__ import annotations

import fnmatch

import pytest

from pipeline.broker import topology
from pipeline.broker.topology import STAGES, TOPOLOGY

QUEUES = {queue.name: dict(queue.arguments) for queue in TOPOLOGY.queues}


def queues_for(exchange: str, routing_key: str) -> list[str]:
    """Routing by hand; our patterns only use a trailing `*` and `#`."""
    return [
        binding.queue
        for binding in TOPOLOGY.bindings
        if binding.exchange == exchange
        and (binding.pattern == "#" or fnmatch.fnmatchcase(routing_key, binding.pattern))
        and (binding.pattern == "#" or routing_key.count(".") == binding.pattern.count("."))
    ]


def test_every_stage_has_its_queue_and_its_dead_letter_queue_and_am_has_one() -> None:
    assert set(QUEUES) == {
        *(f"daifu.{stage}" for stage in ("intake", "credentials", "payment", "settlement", "notification")),
        *(f"daifu.{stage}.dlq" for stage in ("intake", "credentials", "payment", "settlement", "notification")),
        "daifu.am",
    }


@pytest.mark.parametrize(
    "message_type",
    [
        "order.paid",
        "purchase.need_pay",
        "purchase.confirmed",
        "purchase.no_ticket",
        "refund.requested",
        "refund.closed",
        "refund.arrived",
    ],
)
def test_every_message_of_am_goes_to_intake_alone(message_type: str) -> None:
    assert queues_for("daifu", message_type) == ["daifu.intake"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_wake_up_goes_to_its_stage_and_a_dead_letter_to_its_dead_letter_queue(stage: str) -> None:
    assert queues_for(topology.EXCHANGE, topology.wake_key(stage)) == [topology.queue_of(stage)]
    assert queues_for(topology.EXCHANGE, topology.dead_key(stage)) == [topology.dead_letter_queue_of(stage)]


def test_results_go_to_am_and_never_back_to_intake() -> None:
    assert queues_for("daifu.events", "purchase.settled") == ["daifu.am"]


def test_every_queue_is_a_quorum_queue_that_never_drops_for_too_many_deliveries() -> None:
    for arguments in QUEUES.values():
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-delivery-limit"] == 1_000_000_000


def test_a_dead_letter_queue_has_no_time_to_live_and_no_length_limit() -> None:
    for stage in STAGES:
        assert set(QUEUES[f"daifu.{stage}.dlq"]) == {"x-queue-type", "x-delivery-limit"}


def test_intake_has_all_that_at_least_once_dead_lettering_needs() -> None:
    arguments = QUEUES["daifu.intake"]
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"
    exchange, key = str(arguments["x-dead-letter-exchange"]), str(arguments["x-dead-letter-routing-key"])
    assert queues_for(exchange, key) == ["daifu.intake.dlq"]


def test_the_queue_of_am_is_bounded_and_drops_its_oldest() -> None:
    assert QUEUES["daifu.am"]["x-max-length"] == topology.AM_MAX_LENGTH
    assert QUEUES["daifu.am"]["x-overflow"] == "drop-head"


def test_a_queue_is_declared_after_the_queue_its_dead_letters_go_to() -> None:
    names = list(QUEUES)
    assert names.index("daifu.intake.dlq") < names.index("daifu.intake")


def test_an_unknown_stage_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'paymnet' is no stage"):
        topology.queue_of("paymnet")
