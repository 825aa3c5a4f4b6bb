"""The dead-letter desk against a real RabbitMQ: every `.dlq` is drained into the database, nothing goes back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.dead_letter_desk import DeadLetterDesk
from pipeline import operations
from pipeline.broker.declare import apply
from pipeline.broker.factory import open_broker
from pipeline.broker.messages import dead_letter_message
from pipeline.broker.port import Broker, Outbox, Outgoing
from pipeline.broker.topology import EXCHANGE, STAGES, dead_key, dead_letter_queue_of
from pipeline.executors import ThreadExecutor
from pipeline.reasons import Reason
from pipeline.store import dead_letters
from pipeline.store.engine import StoreUnavailable
from pipeline.store.queries_letters import list_letters
from schemas.dead_letter import DeadLetter
from tests.unit.desk_world import ANN, START, Desk, desk_at
from tests.unit.message_samples import body

TRIES, TRY_S = 1000, 0.02


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def run_desk(desk: Desk, url: str, talk: Callable[[Outbox], Awaitable[None]]) -> None:
    """The desk runs while `talk` publishes and waits; then everything is drained and nothing is left in a queue."""

    async def whole() -> None:
        broker = open_broker(url, name="desk test")
        executor = ThreadExecutor(1)
        inboxes = {stage: broker.inbox(dead_letter_queue_of(stage), 100) for stage in STAGES}
        keeper = DeadLetterDesk(desk.store, executor, inboxes, desk.services.public)
        running = asyncio.ensure_future(keeper.run())
        try:
            await talk(broker.outbox())
        finally:
            keeper.stop()
            await running
            await broker.close()
            executor.close()
        assert await left_over(url) == []

    asyncio.run(whole())


async def left_over(url: str) -> list[bytes]:
    """What a consumer that comes afterwards still finds in the queues of the test."""
    broker: Broker = open_broker(url, name="desk test, afterwards")
    found: list[bytes] = []
    for stage in ("intake", "payment"):
        inbox = broker.inbox(dead_letter_queue_of(stage), 10)
        try:
            found += [delivery.body for delivery in await asyncio.wait_for(inbox.take(10), 0.5)]
        except TimeoutError:
            continue
    await broker.close()
    return found


async def until(right: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if right():
            return
        await asyncio.sleep(TRY_S)
    pytest.fail(f"not within {TRIES * TRY_S} s")


def raw_letter(desk: Desk, message: bytes, at_s: float = 0) -> DeadLetter:
    digest = hashlib.sha256(message).hexdigest()
    return DeadLetter(
        id=f"intake:poison:{digest}",
        stage="intake",
        order_no=None,
        generation=None,
        reason="poison",
        detail="data.fare_fen: must be an integer",
        body_sealed=desk.services.seal(message),
        digest=digest,
        at=START + timedelta(seconds=at_s),
    )


def of_row(row: Any) -> DeadLetter:
    return DeadLetter(
        id=row.uid,
        stage=row.stage,
        order_no=row.order_no,
        generation=row.generation,
        reason=row.reason,
        detail=row.detail,
        body_sealed=None,
        digest=None,
        at=row.last_at,
    )


def test_a_letter_that_has_a_row_is_marked_seen(desk: Desk, fresh_vhost: str) -> None:
    apply(fresh_vhost)
    desk.ended(Reason.PRICE_MISMATCH)
    (row,) = desk.read(lambda tx: dead_letters.unseen(tx, 10))

    async def talk(outbox: Outbox) -> None:
        await outbox.publish([dead_letter_message(of_row(row))] * 2)
        await until(lambda: desk.read(lambda tx: dead_letters.unseen(tx, 10)) == [])
        # The desk takes a queue in order: once what came last is kept, both copies have been taken.
        await outbox.publish([Outgoing(EXCHANGE, dead_key(row.stage), b"last")])
        await until(lambda: len(desk.read(list_letters)) == 2)

    run_desk(desk, fresh_vhost, talk)
    assert [letter["reason"] for letter in desk.read(list_letters) if letter["raw"]] == ["poison"]


def test_undecodable_input_of_intake_is_kept_and_can_be_replayed(desk: Desk, fresh_vhost: str) -> None:
    apply(fresh_vhost)
    letter = raw_letter(desk, body("order.paid"))

    async def talk(outbox: Outbox) -> None:
        await outbox.publish([dead_letter_message(letter)])
        await until(lambda: len(desk.read(list_letters)) == 1)

    run_desk(desk, fresh_vhost, talk)
    kept = desk.letter()
    assert (kept["stage"], kept["reason"], kept["state"], kept["raw"]) == ("intake", "poison", "open", True)
    assert desk.replay(kept["id"]).result == "replayed"


def test_a_message_in_a_dlq_that_nobody_can_read_is_kept_with_its_digest(desk: Desk, fresh_vhost: str) -> None:
    apply(fresh_vhost)
    message = body("order.paid")  # as the broker itself would put it there

    async def talk(outbox: Outbox) -> None:
        await outbox.publish([Outgoing(EXCHANGE, dead_key("intake"), message)])
        await until(lambda: len(desk.read(list_letters)) == 1)

    run_desk(desk, fresh_vhost, talk)
    kept = desk.letter()
    assert (kept["reason"], hashlib.sha256(message).hexdigest()[:16] in kept["detail"]) == ("poison", True)
    assert desk.replay(kept["id"]).result == "replayed"  # and nothing of AM's message was lost


def test_the_same_body_again_opens_its_letter_again(desk: Desk, fresh_vhost: str) -> None:
    apply(fresh_vhost)
    message = b"{}"

    async def talk(outbox: Outbox) -> None:
        await outbox.publish([dead_letter_message(raw_letter(desk, message))])
        await until(lambda: len(desk.read(list_letters)) == 1)
        desk.write(lambda tx: operations.discard(tx, desk.letter()["id"], "测试数据", ANN))
        await outbox.publish([dead_letter_message(raw_letter(desk, message))])  # only redelivered
        await outbox.publish([dead_letter_message(raw_letter(desk, b"[]"))])
        await until(lambda: len(desk.read(list_letters)) == 2)
        assert sorted(letter["state"] for letter in desk.read(list_letters)) == ["discarded", "open"]
        await outbox.publish([dead_letter_message(raw_letter(desk, message, at_s=60))])
        await until(lambda: all(letter["state"] == "open" for letter in desk.read(list_letters)))

    run_desk(desk, fresh_vhost, talk)
    assert sorted(letter["attempts"] for letter in desk.read(list_letters)) == [1, 2]


def test_letters_wait_for_a_database_that_is_away(
    desk: Desk, fresh_vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(fresh_vhost)
    write, away = desk.store.write, [True, True]

    def sometimes(work: Callable[..., Any]) -> Any:
        if away:
            away.pop()
            raise StoreUnavailable("away")
        return write(work)

    monkeypatch.setattr(desk.store, "write", sometimes)

    async def talk(outbox: Outbox) -> None:
        await outbox.publish([dead_letter_message(raw_letter(desk, b"{}"))])
        await until(lambda: len(desk.read(list_letters)) == 1)

    run_desk(desk, fresh_vhost, talk)
    assert away == []
