"""Wake-ups as work keys: batches of them whatever the messages' sizes, and acks only when nothing of a message is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.broker.messages import wake_messages
from pipeline.broker.port import Delivery
from pipeline.broker.topology import wake_key
from pipeline.stage import MAX_BATCH
from pipeline.wake_ups import WakeUps, prefetch_of
from schemas.wakeup import MAX_KEYS, parse_wakeup, wakeup

KEYS = [f"demo{n}:1:pay" for n in range(MAX_KEYS + 10)]


def delivered(*bodies: bytes, redelivered: bool = False) -> list[Delivery]:
    return [Delivery(body, tag, 1, redelivered) for tag, body in enumerate(bodies, 1)]


def tags(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.tag for delivery in deliveries]


def test_rows_that_became_due_together_share_messages_by_stage() -> None:
    wakes = dict.fromkeys(KEYS, "payment") | {"demo1:1:settle": "settlement"}
    messages = wake_messages(wakes)
    assert [(message.routing_key, len(parse_wakeup(message.body))) for message in messages] == [
        (wake_key("payment"), MAX_KEYS),
        (wake_key("payment"), 10),
        (wake_key("settlement"), 1),
    ]
    assert [key for message in messages for key in parse_wakeup(message.body)] == list(wakes)


@pytest.mark.parametrize(
    ("rows", "workers", "messages"),
    [(600, 1, [600]), (600, 4, [150] * 4), (601, 2, [301, 300]), (100, 4, [25] * 4), (30, 4, [20, 10]), (1, 9, [1])],
)
def test_each_worker_of_a_stage_has_its_share_where_there_is_enough_for_several(
    rows: int, workers: int, messages: list[int]
) -> None:
    wakes = {f"demo{n}:1:pay": "payment" for n in range(rows)} | {"demo0:1:settle": "settlement"}
    shared = wake_messages(wakes, {"payment": workers, "intake": 7})
    assert [len(parse_wakeup(message.body)) for message in shared] == [*messages, 1]
    assert [key for message in shared for key in parse_wakeup(message.body)] == list(wakes)


def test_a_message_is_acked_with_the_last_of_its_keys() -> None:
    waiting = WakeUps("payment")
    waiting.add(delivered(wakeup(*KEYS[:15]), wakeup(*KEYS[15:20])))
    first, second, third = waiting.next(10), waiting.next(5), waiting.next(10)
    assert (first.keys, tags(first.deliveries)) == (KEYS[:10], [])
    assert (second.keys, tags(second.deliveries)) == (KEYS[10:15], [1])
    assert (third.keys, tags(third.deliveries)) == (KEYS[15:20], [2])
    assert not waiting
    assert not waiting.next(10)


def test_a_key_that_is_named_twice_is_taken_once_and_one_that_may_have_killed_is_known() -> None:
    waiting = WakeUps("payment")
    waiting.add([*delivered(wakeup(*KEYS[:3]), wakeup(*KEYS[1:4])), *delivered(wakeup(KEYS[9]), redelivered=True)])
    whole = waiting.next(MAX_BATCH)
    assert (whole.keys, len(whole.deliveries), whole.redelivered) == ([*KEYS[:4], KEYS[9]], 3, True)


def test_what_nobody_can_read_is_acked_and_names_nothing() -> None:
    waiting = WakeUps("payment")
    waiting.add(delivered(b"{}"))
    woken = waiting.next(MAX_BATCH)
    assert (woken.keys, tags(woken.deliveries)) == ([], [1])


def test_what_a_batch_makes_due_is_one_message_and_a_worker_holds_more_than_the_one_it_works_on() -> None:
    assert MAX_KEYS == MAX_BATCH
    assert prefetch_of("payment") >= 2
    assert prefetch_of("intake") == 2 * MAX_BATCH
