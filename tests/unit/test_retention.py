"""PII_DAYS: what is long over keeps no ID number, no phone and no address, in any table; what is not over keeps them all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline.eraser import Eraser
from pipeline.executors import ThreadExecutor
from pipeline.retention import ERASED, without_personal
from pipeline.states import PurchaseState
from pipeline.store import audit, history, retention, work
from pipeline.store.tables import metadata
from pipeline.store.work_keys import OF_ORDER, Step
from schemas.orders import OrderPaid
from tests.unit.message_samples import DATA, ORDER_NO
from tests.unit.order_world import S, World, order_world

DAY_S = 86_400
KEEP = timedelta(days=90)
PEOPLE = ("000000190001010000", "13800138000", "somebody@example.com", "student-4711")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with order_world(tmp_path) as made:
        yield made


def told(data: dict[str, Any]) -> dict[str, Any]:
    """The sample order with everything personal that an order can hold."""
    passenger = {
        **data["passengers"][0],
        "id_no": PEOPLE[0],
        "student": {"student_no": PEOPLE[3], "school_name": "清华大学"},
    }
    return {
        "passengers": [passenger, *({**it, "id_no": PEOPLE[0]} for it in data["passengers"][1:])],
        "contact": {"name": "曹女士", "phone": PEOPLE[1], "email": PEOPLE[2]},
    }


def held(world: World) -> str:
    """All that the database holds, as text."""
    found = []
    for name in metadata.tables:
        rows = world.store.read(lambda tx, name=name: tx.rows(text(f"SELECT * FROM {name}")))  # type: ignore[misc]  # noqa: S608
        found += [str(tuple(row)) for row in rows]
    return "\n".join(found)


def erase(world: World, most: int = 100) -> int:
    return world.store.write(lambda tx: retention.erase(tx, KEEP, most)).value


def settled(world: World) -> None:
    world.hear("order.paid", **told(DATA["order.paid"]))
    world.hear("purchase.need_pay")
    world.to(S.SETTLED)
    over(world)
    world.store.write(lambda tx: tx.run(text("UPDATE orders SET frozen_fen = 0")))


def over(world: World) -> None:
    """Told and sent: the stages are done with their rows."""
    world.store.write(lambda tx: tx.run(text("DELETE FROM work")))


def test_an_order_that_is_over_loses_what_is_personal_and_nothing_else(world: World) -> None:
    settled(world)
    assert all(it in held(world) for it in PEOPLE)
    world.clock.move(200 * DAY_S)
    before, audited = world.order(), audit.run(world.store)
    assert erase(world) == 1
    assert not [it for it in PEOPLE if it in held(world)]
    after = world.order()
    assert after.erased_at is not None
    assert (after.contact_mark, after.phone_mark) == (None, None)
    gone = {"erased_at", "contact_mark", "phone_mark"}
    assert {k: v for k, v in after._mapping.items() if k not in gone} == {
        k: v for k, v in before._mapping.items() if k not in gone
    }
    assert erase(world) == 0
    assert audit.run(world.store).broken == audited.broken


def test_what_is_left_is_still_an_order() -> None:
    data = {**DATA["order.paid"], **told(DATA["order.paid"])}
    left = without_personal(data)
    order = OrderPaid.model_validate(left, strict=False)
    assert {it.id_no for it in order.passengers} == {ERASED}
    assert [it.name for it in order.passengers] == [it["name"] for it in data["passengers"]]
    assert order.contact is not None
    assert (order.contact.name, order.contact.phone, order.contact.email) == ("曹女士", None, None)
    assert {k: v for k, v in left.items() if k not in ("passengers", "contact")} == {
        k: v for k, v in data.items() if k not in ("passengers", "contact")
    }


def test_an_order_keeps_them_until_the_last_thing_that_happened_is_old_enough(world: World) -> None:
    settled(world)
    world.clock.move(60 * DAY_S)
    assert erase(world) == 0
    assert PEOPLE[0] in held(world)


@pytest.mark.parametrize("state", [S.READY, S.IN_DOUBT, S.PAID_ABNORMAL, S.HELD_UNPAID])
def test_an_order_that_may_still_need_them_keeps_them(world: World, state: PurchaseState) -> None:
    """Live, in doubt, a person's task; or unpaid with the user's money still frozen: it may be imported again."""
    world.hear("order.paid", **told(DATA["order.paid"]))
    world.hear("purchase.need_pay")
    world.to(state)
    over(world)
    world.clock.move(200 * DAY_S)
    assert erase(world) == 0
    assert PEOPLE[0] in held(world)


@pytest.mark.parametrize("step", list(Step))
def test_an_order_that_anybody_has_still_work_with_keeps_them(world: World, step: Step) -> None:
    settled(world)
    world.clock.move(200 * DAY_S)
    generation = 0 if step in OF_ORDER else 1
    world.store.write(lambda tx: work.add(tx, ORDER_NO, generation, step, urgency=world.clock.now()))
    assert erase(world) == 0
    over(world)
    assert erase(world) == 1


def test_it_goes_in_batches(world: World) -> None:
    settled(world)
    world.clock.move(200 * DAY_S)
    assert erase(world, most=1) == 1
    assert erase(world, most=1) == 0


def test_the_sealed_body_of_a_closed_dead_letter_goes_too_and_an_open_ones_stays(world: World) -> None:
    world.hear("order.paid")
    columns = "uid, stage, reason, detail, attempts, first_at, last_at, state, body_sealed"
    for uid, state in (("a", "open"), ("b", "discarded")):
        world.store.write(
            lambda tx, uid=uid, state=state: tx.run(  # type: ignore[misc]
                text(
                    f"INSERT INTO dead_letters ({columns}) VALUES (:u, 'intake', 'poison', '', 1, daifu_now(), daifu_now(), :s, 'x')"  # noqa: S608
                ),
                {"u": uid, "s": state},
            )
        )
    world.clock.move(200 * DAY_S)
    assert erase(world) == 1
    assert world.rows("dead_letters", "uid, body_sealed") == [("a", "x"), ("b", None)]


def test_an_archived_story_is_found_as_before_and_goes_on(world: World) -> None:
    settled(world)
    world.clock.move(200 * DAY_S)
    before, audited = world.store.read(lambda tx: history.story(tx, ORDER_NO)), audit.run(world.store)
    assert len(before) > 2

    def archive(after: str = "") -> list[str]:
        at = world.clock.now() - KEEP
        return world.store.write(lambda tx: retention.archive(tx, at, after, 100)).value

    assert archive() == [ORDER_NO]
    assert world.rows("history") == []
    assert world.store.read(lambda tx: history.story(tx, ORDER_NO)) == before
    assert audit.run(world.store).broken == audited.broken
    assert archive() == []
    world.store.write(lambda tx: history.tell(tx, ORDER_NO, "refund_arrived", "am"))
    assert [line["what"] for line in world.store.read(lambda tx: history.story(tx, ORDER_NO))][-1] == "refund_arrived"
    assert archive() == [ORDER_NO]
    assert len(world.store.read(lambda tx: history.story(tx, ORDER_NO))) == len(before) + 1


def test_a_request_for_an_archived_order_is_answered_as_ever(world: World) -> None:
    """It must never be taken for a new order: that would pay a second time."""
    settled(world)
    world.clock.move(200 * DAY_S)
    at = world.clock.now() - KEEP
    world.store.write(lambda tx: retention.archive(tx, at, "", 100))
    erase(world)
    again = world.hear("purchase.need_pay")
    assert again.err_code == "008"
    assert world.order().generation == 1


def test_the_relays_eraser_does_it_by_itself_until_it_is_stopped(world: World) -> None:
    settled(world)
    world.clock.move(200 * DAY_S)
    executor = ThreadExecutor(1)

    async def erased() -> None:
        eraser = Eraser(world.store, executor, KEEP.days)
        running = asyncio.ensure_future(eraser.run())
        async with asyncio.timeout(60):
            while world.order().erased_at is None:  # noqa: ASYNC110 - it is the database that changes
                await asyncio.sleep(0.01)
        eraser.stop()
        await running

    asyncio.run(erased())
    executor.close()
