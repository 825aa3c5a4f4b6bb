"""Closing everything sealed anew, on both databases: every column, some at a time, broken off and done again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text

from pipeline import operations_vault
from pipeline.operations_errors import Refused
from pipeline.operations_vault import Resealed, reseal, retire
from pipeline.store import sealed
from pipeline.store.engine import Store, StoreUnavailable
from pipeline.store.sealed import PLACES, Place, Ring
from pipeline.store.tables import metadata, requests
from pipeline.vault import KeyRing, key_id_of
from tests.contract.store_subjects import sql

ACTOR = "human:ann"
MADE = datetime(2014, 11, 17, 12, tzinfo=UTC)
RINGS: tuple[Ring, ...] = ("passwords", "services")


def fill(store: Store, ring: KeyRing, name: Ring, rows: int) -> None:
    """`rows` rows in each table of this ring, every sealed column closed with the ring; other columns as their types allow."""
    for table in {place.column.table for place in PLACES[name]}:
        sealed_columns = {place.column.name for place in PLACES[name] if place.column.table is table}
        for n in range(rows):
            values = {
                column.name: ring.seal(f"{column.name} {n}") if column.name in sealed_columns else _some(column, n)
                for column in table.c
                if column.name in sealed_columns
                or (not column.nullable and column.server_default is None and column.autoincrement is not True)
            }
            store.write(lambda tx, into=table, row=values: tx.run(insert(into).values(row)))  # type: ignore[misc]


def _some(column: Any, n: int) -> Any:
    if column.name == "role":
        return "operator"
    kind = type(column.type).__name__
    return {"Instant": MADE, "Boolean": False, "Json": {}}.get(kind, n if "Integer" in kind else f"{column.name}-{n}")


def texts(store: Store, place: Place) -> list[str]:
    query = text(f"SELECT {place.column.name} FROM {place.column.table.name}")  # noqa: S608 - our own names
    return [row[0] for row in store.read(lambda tx: tx.rows(query)) if row[0] is not None]


def test_every_sealed_column_belongs_to_a_ring() -> None:
    known = {str(place.column) for places in PLACES.values() for place in places}
    assert known == {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if column.name.endswith("_sealed")
    }


@pytest.mark.parametrize("name", RINGS)
def test_all_is_closed_anew_though_it_was_broken_off(store: Store, name: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_vault, "AT_ONCE", 2)
    ring = KeyRing.generate(MADE)
    fill(store, ring, name, rows=5)
    rotated = ring.rotate(MADE)
    write, left = store.write, [3]

    def break_off(work: Any) -> Any:
        if left[0] == 0:
            raise StoreUnavailable("killed here")
        left[0] -= 1
        return write(work)

    store.write = break_off  # type: ignore[method-assign] # killed after the first column's batches of 2, 2 and 1
    with pytest.raises(StoreUnavailable):
        reseal(store, rotated, name, ACTOR)
    store.write = write  # type: ignore[method-assign]
    old = list(ring.key_ids)
    assert store.read(lambda tx: sealed.count_under(tx, name, old))
    with pytest.raises(Refused, match="still close"):
        retire(store, rotated, name, MADE + timedelta(days=2), ACTOR)

    done = reseal(store, rotated, name, ACTOR)
    assert (done.moved, done.unreadable) == (5 * (len(PLACES[name]) - 1), 0)
    assert reseal(store, rotated, name, ACTOR) == Resealed()
    only = retire(store, rotated, name, MADE + timedelta(days=2), ACTOR)
    assert only.key_ids == (rotated.public.key_id,)
    for place in PLACES[name]:
        kept = texts(store, place)
        assert len(kept) == 5
        assert {only.open(one).reveal() for one in kept} == {f"{place.column.name} {n}" for n in range(5)}


def test_what_another_vault_closed_stays_and_what_was_changed_meanwhile_is_not_overwritten(store: Store) -> None:
    ring = KeyRing.generate(MADE)
    fill(store, ring, "passwords", rows=2)
    foreign, newer = KeyRing.generate().seal("foreign"), ring.seal("newer")
    rotated = ring.rotate(MADE)
    place = PLACES["passwords"][0]
    rows = store.read(lambda tx: sealed.under_other_keys(tx, place, rotated.public.key_id, (), 10))
    sql(store, "UPDATE agents SET password_sealed = :s WHERE code = 'code-0'", s=newer)
    sql(store, "UPDATE agents SET password_sealed = :s WHERE code = 'code-1'", s=foreign)
    assert [store.write(lambda tx, it=row: sealed.replace(tx, place, it, "lost")).value for row in rows] == [False] * 2  # type: ignore[misc]
    assert reseal(store, rotated, "passwords", ACTOR) == Resealed(moved=5, unreadable=1)
    kept = {key_id_of(one): one for one in texts(store, place)}
    assert kept[key_id_of(foreign)] == foreign
    assert rotated.open(kept[rotated.public.key_id]).reveal() == "newer"


def test_a_request_that_waits_for_its_order_holds_up_the_old_key(store: Store) -> None:
    ring = KeyRing.generate(MADE)
    rotated, box = ring.rotate(MADE), ring.seal("in a message")
    row = {
        "source": "am",
        "id": "r1",
        "type": "purchase.need_pay",
        "order_no": "o1",
        "digest": "d",
        "received_at": MADE,
    }
    waiting = row | {"answer": "waiting", "payload": {"data": f'{{"password_sealed":"{box}"}}'}}
    store.write(lambda tx: tx.run(insert(requests).values(waiting)))
    with pytest.raises(Refused, match=r"1 in requests\.payload"):
        retire(store, rotated, "passwords", MADE + timedelta(days=2), ACTOR)
    sql(store, "UPDATE requests SET answer = 'accepted', payload = NULL")
    assert retire(store, rotated, "passwords", MADE + timedelta(days=2), ACTOR).key_ids == rotated.key_ids[-1:]


def test_a_key_is_current_for_a_day_before_the_old_ones_go(store: Store) -> None:
    rotated = KeyRing.generate(MADE).rotate(MADE)
    for moment, ring in ((MADE + timedelta(hours=23, minutes=59), rotated), (MADE, rotated.rotate())):
        with pytest.raises(Refused, match="current for 24 h"):
            retire(store, ring, "services", moment, ACTOR)
    assert len(retire(store, rotated, "services", MADE + timedelta(hours=24), ACTOR).key_ids) == 1
