"""SIGTERM at a worker with calls: what may be given back is given back, at whatever moment the signal comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from pipeline.broker.messages import wake_message
from pipeline.broker.port import Delivery, Outgoing
from pipeline.call_runner import CallRunner
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.runner import Ports
from pipeline.states import PurchaseState
from pipeline.store.work import Step
from tests.unit.desk_world import Desk, desk_at
from tests.unit.payment_world import PAY_KEY, Outside, PayingDesk, held


class OneMessage:
    """Delivers the order's wake-up; nothing follows."""

    connected = True

    def __init__(self) -> None:
        self._waiting = [Delivery(wake_message("payment", PAY_KEY).body, 1, 1, redelivered=False)]
        self.acked: list[Delivery] = []

    async def take(self, most: int) -> list[Delivery]:
        if not self._waiting:
            await asyncio.Event().wait()
        return [self._waiting.pop()]

    async def gathered(self, count: int) -> None:
        await asyncio.Event().wait()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.acked.extend(deliveries)

    async def close(self) -> None: ...


class Nobody:
    connected = True

    async def publish(self, messages: Sequence[Outgoing]) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def test_a_purchase_that_was_being_claimed_when_the_signal_came_is_ready_again(desk: Desk) -> None:
    paying = PayingDesk(desk, Outside())
    paying.ready()
    paying.outside.unpaid = [held(paying.in_an_hour())]
    inbox = OneMessage()
    ports = Ports(inbox, Nobody(), desk.store, InlineExecutor(), desk.clock, Metrics())
    runner = CallRunner(paying.stage, ports, places=10)
    prepare = paying.stage.prepare

    def signalled(tx: object, keys: Sequence[str]) -> object:
        runner.stop()
        return prepare(tx, keys)  # type: ignore[arg-type] # as it was given

    paying.stage.prepare = signalled  # type: ignore[assignment, method-assign]
    asyncio.run(asyncio.wait_for(runner.run(), 5))

    assert len(inbox.acked) == 1
    assert paying.outside.submits == 0
    assert desk.purchase().state == PurchaseState.READY
    row = paying.row(Step.PAY)
    assert (row.tries, row.deaths) == (0, 0)


class Defective(Nobody):
    async def publish(self, messages: Sequence[Outgoing]) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("outbox", [Nobody(), Defective()])
def test_wake_ups_that_are_still_under_way_are_awaited_and_a_defect_in_them_ends_the_worker(
    desk: Desk, outbox: Nobody
) -> None:
    ports = Ports(OneMessage(), outbox, desk.store, InlineExecutor(), desk.clock, Metrics())
    runner = CallRunner(PayingDesk(desk, Outside()).stage, ports, places=10)

    async def told() -> None:
        for _ in range(3):
            await runner.tell({PAY_KEY: "payment"})
        await runner.told()

    with pytest.raises(ZeroDivisionError) if isinstance(outbox, Defective) else nullcontext():
        asyncio.run(told())
