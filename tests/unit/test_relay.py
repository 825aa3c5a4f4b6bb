"""The relay's acts stand alone: what one of them can't do never keeps the others from theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline import endings
from pipeline.broker.port import Outgoing, Unroutable
from pipeline.broker.topology import EVENTS, dead_key
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.relay import Relay, RelayTimes
from pipeline.store import callbacks, control, results, work
from pipeline.store.engine import Transaction
from tests.contract.stage_batches import statements_of
from tests.unit.desk_world import Desk, desk_at
from tests.unit.message_samples import ORDER_NO

PATIENCE_S = 5.0


class NobodyTakesResults:
    """AM's queue is not bound: every result comes back, everything else arrives."""

    connected = True

    def __init__(self) -> None:
        self.arrived: list[str] = []

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if any(message.exchange == EVENTS for message in messages):
            raise Unroutable("nobody is bound to daifu.events")
        self.arrived += [message.routing_key for message in messages]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def relay(desk: Desk, outbox: NobodyTakesResults) -> Relay:
    return Relay(outbox, desk.store, InlineExecutor(), Metrics(), RelayTimes(PATIENCE_S, 86_400.0))


def test_results_that_nobody_takes_do_not_stop_the_wake_ups(desk: Desk) -> None:
    desk.requested()
    desk.later(60)
    outbox = NobodyTakesResults()
    with pytest.raises(Unroutable):
        asyncio.run(relay(desk, outbox).tick())
    assert "wake.credentials" in outbox.arrived


def test_a_round_with_nothing_to_do_is_one_look(desk: Desk) -> None:
    """Ten rounds a second: what each of them costs is what an idle system costs."""
    idle = relay(desk, NobodyTakesResults())
    asyncio.run(idle.tick())  # the first also counts for the metrics
    with statements_of(desk.store) as executed:
        asyncio.run(idle.tick())
    assert len([statement for statement in executed if not statement.startswith("BEGIN")]) == 1


def test_what_ends_in_a_round_is_told_in_it(desk: Desk) -> None:
    desk.requested()
    desk.write(lambda tx: results.mark_sent(tx, [row.row_key for row in results.unsent(tx, 10)]))
    desk.later(3600)
    outbox = NobodyTakesResults()
    with pytest.raises(Unroutable):  # the result of its end
        asyncio.run(relay(desk, outbox).tick())
    assert dead_key("payment") in outbox.arrived


def test_a_purchase_that_can_not_be_ended_does_not_stop_the_relay(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.requested()
    desk.later(3600)

    def defect(*_args: object, **_more: object) -> bool:
        raise LookupError("a defect")

    monkeypatch.setattr(endings, "end_before_intent", defect)
    outbox = NobodyTakesResults()
    with pytest.raises(Unroutable):  # the results' own trouble, told after every act was tried
        asyncio.run(relay(desk, outbox).tick())
    assert "wake.credentials" in outbox.arrived


def test_an_outcome_that_nobody_would_tell_gets_its_row_back(desk: Desk) -> None:
    desk.paid()
    desk.write(lambda tx: work.remove(tx, [f"{ORDER_NO}:0:tell"]))
    assert desk.read(lambda tx: callbacks.untold(tx, 10)) == [ORDER_NO]
    with pytest.raises(Unroutable):
        asyncio.run(relay(desk, NobodyTakesResults()).tick())
    assert desk.read(lambda tx: callbacks.untold(tx, 10)) == []


def test_a_provisional_3_that_is_written_late_never_overtakes_the_outcome(desk: Desk) -> None:
    desk.paid()
    desk.write(lambda tx: callbacks.prepare(tx, ORDER_NO, 1, "xcslw", "3"))
    pending = desk.read(lambda tx: callbacks.latest_pending(tx, ORDER_NO))
    assert pending is not None
    assert pending.pay_status == "1"


def test_a_worker_that_was_forgotten_while_the_database_was_away_is_known_again(desk: Desk) -> None:
    def begin(tx: Transaction) -> None:
        control.register_worker(tx, "payment:1", "payment", 120.0)

    desk.write(begin)
    desk.later(7200)
    desk.write(lambda tx: control.forget_workers(tx, 3600.0))
    assert desk.write(lambda tx: control.beat(tx, "payment:1", "payment", 120.0))
    desk.write(lambda tx: control.close_worker(tx, "payment:1"))
    assert not desk.write(lambda tx: control.beat(tx, "payment:1", "payment", 120.0))
