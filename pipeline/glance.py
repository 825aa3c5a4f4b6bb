"""The overview as people get it, on the page and by command: what the database knows, and what the broker counts."""

from __future__ import annotations

from typing import Any

from pipeline.broker.port import Depths
from pipeline.broker.topology import dead_letter_queue_of, queue_of
from pipeline.store.engine import Transaction
from pipeline.store.queries_overview import overview


def glance(tx: Transaction, depths: Depths) -> dict[str, Any]:
    """`overview` with each stage's queues, and `broker`: its trouble, and the queues it should have and has not."""
    seen = overview(tx)
    stages = [
        {
            **one,
            "queue": depths.ready.get(queue_of(one["stage"])),
            "dead_letter_queue": depths.ready.get(dead_letter_queue_of(one["stage"])),
        }
        for one in seen["stages"]
    ]
    missing = [name for name, ready in depths.ready.items() if ready is None]
    return {**seen, "stages": stages, "broker": {"trouble": depths.trouble, "missing": missing}}
