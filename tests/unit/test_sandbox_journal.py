"""The sandbox's file: what a restart knows, what a kill may cut, what must never stand in it."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.ports import TradeState
from pipeline.railway.sandbox.behaviours import BEHAVIOURS, Fault, Says
from pipeline.railway.sandbox.journal import Journal, JournalDamagedError
from pipeline.railway.sandbox.world import open_world
from tests.unit.sandbox_world import HOLD_NO, PASSWORD, Payer, StandingClock, hold_body


@contextmanager
def running(path: Path, clock: StandingClock) -> Iterator[Payer]:
    payer = Payer(clock, path)
    try:
        yield payer
    finally:
        payer.world.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox" / "journal.jsonl"


@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_a_restarted_sandbox_knows_every_hold_and_every_line(path: Path, behaviour: str) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body(behaviour))
        trade_no = ""
        with suppress(Fault, Says):
            trade_no, _ = payer.pay()
        before, lines = payer.world.hold(HOLD_NO), payer.world.journal()
    with running(path, clock) as again:
        assert again.world.hold(HOLD_NO) == before
        assert again.world.journal() == lines
        if trade_no and behaviour != "mute_after_pay":
            taken = sum(line["amount_fen"] for line in lines if line["kind"] == "debit")
            assert again.world.till.trade(trade_no).amount_fen == taken


def test_a_form_given_out_before_a_restart_can_be_paid_after_it(path: Path) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body())
        payer.log_in()
        form = payer.form()
    with running(path, clock) as again:
        again.world.till.submit(form)
        assert again.world.till.trade(form["ord_id_ext"]).state is TradeState.PAID
        again.log_in()
        assert [line["seq"] for line in again.world.journal()] == list(range(1, 9))


def test_a_debit_that_was_still_to_land_lands_after_the_restart(path: Path) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body("late_pay"))
        trade_no, _ = payer.pay()
    with running(path, clock) as again:
        assert again.world.till.trade(trade_no).state is TradeState.WAITING
        assert again.world.till.trade(trade_no).state is TradeState.PAID


def test_counters_locks_outages_clock_and_agents_survive_a_restart(path: Path) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body("unpaid_list_empty_at_first"))
        payer.log_in()
        assert payer.unpaid() == ()
        for _ in range(4):
            with pytest.raises(Says):
                payer.log_in(password="not-it")
        payer.world.set_outage({"cashier": True, "mode": "503", "for_s": 60})
        payer.world.set_clock({"skew_s": 12.5})
        payer.world.set_agent("demo", {"answer": "500", "times": 2, "key": "invented-key"})
        assert payer.world.agents.callback("demo", {}, None).status == 500
    with running(path, clock) as again:
        assert again.world.skew_s == 12.5
        with pytest.raises(Fault, match="503"):
            again.world.till.trade("0")
        assert [again.world.agents.callback("demo", {}, None).status for _ in range(2)] == [500, 200]
        with pytest.raises(Says, match="锁定"):
            again.log_in()
        clock.advance(20 * 60)
        again.log_in()
        assert [len(again.unpaid()) for _ in range(2)] == [0, 1]


def test_sessions_end_with_the_process(path: Path) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body())
        sid = payer.log_in()
    with running(path, clock) as again, pytest.raises(Says, match="用户未登录"):
        again.world.ticketing.unpaid(sid)


def test_a_last_line_cut_by_a_kill_is_dropped_and_written_over(path: Path) -> None:
    clock = StandingClock()
    with running(path, clock) as payer:
        payer.world.add_hold(hold_body())
        payer.pay()
        whole = len(payer.world.journal())
    path.write_bytes(path.read_bytes() + b'{"seq": 99, "kind": "deb')
    with running(path, clock) as again:
        assert len(again.world.journal()) == whole
        again.log_in()
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_a_file_that_holds_nothing_but_a_cut_line_is_a_new_one(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"state": "ho')
    with running(path, StandingClock()) as payer:
        payer.world.add_hold(hold_body())
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("damage", [b"not json\n", b"[1]\n"])
def test_a_damaged_line_stops_the_start(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage + b"{}\n")
    with pytest.raises(JournalDamagedError, match="line 1"):
        open_world(StandingClock(), path)


def test_two_sandboxes_cannot_write_one_file(path: Path) -> None:
    with running(path, StandingClock()), pytest.raises(BlockingIOError):
        open_world(StandingClock(), path)


def test_the_file_is_private_and_holds_no_password(path: Path) -> None:
    with running(path, StandingClock()) as payer:
        payer.world.add_hold(hold_body())
        payer.pay()
    assert PASSWORD not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_state_lines_are_told_apart_and_never_given_out(path: Path) -> None:
    with running(path, StandingClock()) as payer:
        payer.world.add_hold(hold_body())
        payer.world.set_agent("demo", {"key": "invented-key"})
        payer.pay()
        given = payer.world.journal()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert given == [record for record in records if "seq" in record]
    assert all(("state" in record) is not ("kind" in record) for record in records)
    assert "invented-key" not in repr(given)


def test_many_waiters_share_a_sync_and_all_of_it_is_durable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path)
    syncs: list[int] = []
    monkeypatch.setattr("pipeline.railway.sandbox.journal.os.fsync", syncs.append)

    async def one(number: int) -> None:
        journal.append([{"state": "clock", "number": number}])
        await journal.synced()

    async def crowd() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    asyncio.run(crowd())
    journal.close()
    assert 1 <= len(syncs) <= 2
    assert path.read_bytes().count(b"\n") == 50


def test_a_sandbox_in_memory_waits_for_no_disk() -> None:
    payer = Payer()
    payer.world.add_hold(hold_body())
    asyncio.run(payer.world.synced())
