"""The relay audits: every so often, one relay at a time, and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from pipeline import auditor
from pipeline.auditor import Auditor
from pipeline.broker.port import Outgoing
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.relay import Relay, RelayTimes
from pipeline.store import audit_runs
from pipeline.store.audit import Audit
from pipeline.store.audit_runs import LEASE_S, Run
from pipeline.store.engine import StoreUnavailable
from pipeline.store.queries_metrics import read_state
from tests.unit.desk_world import Desk, desk_at
from tests.unit.message_samples import ORDER_NO

EVERY_S = 600.0


class Silent:
    """Takes every message."""

    connected = True

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """It arrives."""

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def auditor_of(desk: Desk) -> Auditor:
    return Auditor(desk.store, InlineExecutor(), EVERY_S)


def audit(*auditors: Auditor) -> None:
    async def once() -> None:
        for each in auditors:
            await each.audit()

    asyncio.run(once())


def latest(desk: Desk) -> Run | None:
    return desk.read(audit_runs.latest)


def runs(desk: Desk) -> int:
    return int(desk.read(lambda tx: tx.run(text("SELECT count(*) FROM audit_runs")).scalar_one()))


def break_it(desk: Desk) -> None:
    desk.write(lambda tx: tx.run(text("UPDATE orders SET frozen_fen = 0")))


def test_the_relay_audits_and_shows_what_it_found(desk: Desk) -> None:
    desk.requested()
    break_it(desk)
    relay = Relay(Silent(), desk.store, InlineExecutor(), Metrics(), RelayTimes(5.0, 86_400.0, EVERY_S))
    asyncio.run(relay.tick())
    found = latest(desk)
    assert found is not None
    assert (found.ok, [broken["invariant"] for broken in found.broken]) == (False, ["frozen_rest_of_each_order"])
    other = Metrics()  # of a relay that did not audit
    other.state.show(desk.read(read_state), [], EVERY_S)
    value = other.registry.get_sample_value
    assert value("daifu_audit_broken", {"invariant": "frozen_rest_of_each_order"}) == 1
    assert value("daifu_audit_broken", {"invariant": "every_posting_balances"}) == 0
    assert value("daifu_audit_last_run_timestamp_seconds") == found.at.timestamp()


def test_a_breach_is_an_error_that_names_the_order(desk: Desk) -> None:
    desk.requested()
    break_it(desk)
    with capture_logs() as lines:
        audit(auditor_of(desk))
    (line,) = [line for line in lines if line["event"] == "audit_broken"]
    assert (line["log_level"], line["invariant"], line["orders"]) == ("error", "frozen_rest_of_each_order", [ORDER_NO])


def test_the_next_audit_is_due_when_the_interval_is_over(desk: Desk) -> None:
    audits = auditor_of(desk)
    audit(audits)
    desk.later(EVERY_S - 1)
    audit(audits, auditor_of(desk))
    assert runs(desk) == 1
    desk.later(auditor.LOOK_S)
    audit(audits)
    assert runs(desk) == 2


def test_of_two_relays_one_audits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "STEP_S", -1.0)  # a range per round
    one, other = auditor_of(desk), auditor_of(desk)
    audit(one, other)
    assert latest(desk) is None
    for _ in range(60):
        audit(one, other)
    assert runs(desk) == 1


def test_who_dies_in_an_audit_is_followed_by_another(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(auditor, "STEP_S", -1.0)
        audit(auditor_of(desk))  # and is never heard of again
    audit(auditor_of(desk))
    assert runs(desk) == 0
    desk.later(LEASE_S)
    audit(auditor_of(desk))
    assert runs(desk) == 1


def test_a_long_audit_keeps_its_turn_and_one_that_stood_still_loses_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "STEP_S", -1.0)
    slow = auditor_of(desk)
    audit(slow)
    desk.later(LEASE_S / 2)
    audit(slow)  # keeps its turn
    desk.later(LEASE_S / 2)
    assert not desk.read(lambda tx: audit_runs.is_due(tx, EVERY_S))
    desk.later(LEASE_S)
    other = auditor_of(desk)
    audit(other)  # has the turn now
    for _ in range(60):
        audit(slow)
    assert runs(desk) == 0
    for _ in range(60):
        audit(other)
    assert runs(desk) == 1


def test_a_shorter_interval_counts_at_once(desk: Desk) -> None:
    audit(Auditor(desk.store, InlineExecutor(), 86_400.0))
    desk.later(1)
    audit(auditor_of(desk))
    assert runs(desk) == 2


def test_an_audit_that_breaks_off_is_not_the_relays_trouble(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(_self: Audit) -> bool:
        raise StoreUnavailable("canceling statement due to statement timeout")

    audits = auditor_of(desk)
    with monkeypatch.context() as broken, capture_logs() as lines:
        broken.setattr(Audit, "step", too_long)
        audit(audits)
    assert [line["event"] for line in lines] == ["audit_broke_off"]
    audit(audits)
    assert runs(desk) == 0
    desk.later(LEASE_S)
    audit(audits)
    assert runs(desk) == 1


def test_only_the_last_runs_are_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_runs, "KEPT", 2)
    for _ in range(4):
        audit(auditor_of(desk))
        desk.later(EVERY_S)
    assert runs(desk) == 2
