"""The heartbeat of a worker: good while its loop ticks, and good again at once when a loop that stood still goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.heartbeat import Heartbeat
from pipeline.store import control
from tests.unit.desk_world import Desk, desk_at

WORKER, LEASE_S = "payment:1", 0.4
LONG_S = 20.0  # for what happens within milliseconds on a machine that has time


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        desk.write(lambda tx: control.register_worker(tx, WORKER, "payment", LEASE_S))
        yield desk


class Loop:
    """A loop that stands still until it is told to go on; `looked` counts the looks at it."""

    def __init__(self) -> None:
        self.hangs, self.looked = True, threading.Semaphore(0)

    def ticked_ago(self) -> float:
        self.looked.release()
        return 100.0 if self.hangs else 0.0


def test_a_loop_that_hangs_is_not_renewed_and_renewed_as_soon_as_it_goes_on(desk: Desk) -> None:
    loop, beaten = Loop(), threading.Event()
    heartbeat = Heartbeat(desk.store, WORKER, "payment", LEASE_S, loop.ticked_ago, lambda _crew: None)
    beat = heartbeat.beat

    def counted() -> None:
        beat()
        beaten.set()

    heartbeat.beat = counted  # type: ignore[method-assign]
    heartbeat.start()
    try:
        for _ in range(3):
            assert loop.looked.acquire(timeout=LONG_S)
        assert not heartbeat.healthy  # nobody counts on a worker whose claims anybody may take
        assert not beaten.is_set()
        loop.hangs = False
        assert beaten.wait(LONG_S)
    finally:
        heartbeat.stop()
    assert heartbeat.healthy


def test_each_beat_learns_how_many_workers_each_stage_has(desk: Desk) -> None:
    learned: list[Mapping[str, int]] = []
    heartbeat = Heartbeat(desk.store, WORKER, "payment", LONG_S, lambda: 0.0, learned.append)
    heartbeat.beat()
    for worker in ("payment:2", "settlement:1"):
        desk.write(lambda tx, worker=worker: control.register_worker(tx, worker, worker[:-2], LONG_S))  # type: ignore[misc] # bound per worker
    heartbeat.beat()
    desk.write(lambda tx: control.close_worker(tx, "settlement:1"))
    heartbeat.beat()
    assert learned == [{"payment": 1}, {"payment": 2, "settlement": 1}, {"payment": 2}]
