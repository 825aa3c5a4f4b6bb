"""Tries to sign in, counted in the database before they are looked at: a restart forgets none, two processes count together."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, case, delete, exists, func, insert, or_, select, update

from pipeline.store.engine import Transaction
from pipeline.store.tables import sign_in_tries as tries
from pipeline.store.types import db_now, seconds_us

KEPT_S = 86_400.0

_add = (
    insert(tries)
    .values(at=db_now(), kind=bindparam("k"), name_hash=bindparam("n"), address=bindparam("a"), result="tried")
    .returning(tries.c.id)
)
_mine = tries.c.name_hash == bindparam("n")
_here = tries.c.address == bindparam("a")
_counts = select(
    func.coalesce(func.sum(case((_mine & _here, 1), else_=0)), 0).label("both"),
    func.coalesce(func.sum(case((_mine, 1), else_=0)), 0).label("name"),
    func.coalesce(func.sum(case((_here, 1), else_=0)), 0).label("address"),
).where(
    tries.c.kind == bindparam("k"),
    tries.c.result == "tried",
    tries.c.at > db_now() - bindparam("window_us"),
    or_(_mine, _here),
)
_known = select(
    exists().where(tries.c.kind == bindparam("k"), _mine, _here, tries.c.result == "passed").select_from(tries)
)
_mark = update(tries).where(tries.c.id == bindparam("t")).values(result=bindparam("r"))
_forget = delete(tries).where(tries.c.at < db_now() - seconds_us(KEPT_S))
_forget_of = delete(tries).where(_mine)


@dataclass(frozen=True, slots=True)
class Counts:
    """Failed tries within the window, the present one included."""

    both: int  # of this name from this address
    name: int
    address: int
    known: bool  # this name came in from this address within KEPT_S


def add(tx: Transaction, kind: str, name_hash: str, address: str) -> int:
    """Count a try as failed before it is looked at. Returns its id."""
    tx.run(_forget)
    return int(tx.run(_add, {"k": kind, "n": name_hash, "a": address}).scalar_one())


def counts(tx: Transaction, kind: str, name_hash: str, address: str, window_s: float) -> Counts:
    values = {"k": kind, "n": name_hash, "a": address, "window_us": seconds_us(window_s)}
    row = tx.run(_counts, values).one()
    known = tx.run(_known, {"k": kind, "n": name_hash, "a": address}).scalar_one()
    return Counts(int(row.both), int(row.name), int(row.address), bool(known))


def passed(tx: Transaction, try_id: int) -> None:
    tx.run(_mark, {"t": try_id, "r": "passed"})


def refused(tx: Transaction, try_id: int) -> None:
    """It was not looked at, and does not count."""
    tx.run(_mark, {"t": try_id, "r": "refused"})


def forget(tx: Transaction, name_hash: str) -> None:
    """A supervisor helped: the user starts afresh."""
    tx.run(_forget_of, {"n": name_hash})
