"""The rest of a rotation (DESIGN section 9): what the old keys closed is closed anew, then they may go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.operations_errors import Refused, person
from pipeline.store import history, sealed
from pipeline.store.engine import Row, Store, Transaction
from pipeline.store.sealed import Place, Ring
from pipeline.vault import KeyRing, VaultError

AT_ONCE = 100  # texts in a transaction: short beside what stages hold


@dataclass(slots=True)
class Resealed:
    """`unreadable`: closed with a key that is not on the ring, or damaged; they stay as they are."""

    moved: int = 0
    unreadable: int = 0


def reseal(store: Store, ring: KeyRing, name: Ring, actor: str) -> Resealed:
    """Close every sealed text in the database with the ring's current key, some at a time, beside whatever else goes on.

    A text that is changed, or gone, meanwhile is left to whoever changed it. Broken off, it is simply done again.
    """
    done = Resealed()
    for place in sealed.PLACES[name]:
        after: tuple[Any, ...] = ()
        while rows := store.read(lambda tx, here=place, at=after: _next(tx, here, ring, at)):  # type: ignore[misc]
            anew = [(row, text) for row in rows if (text := _anew(ring, row.sealed)) is not None]
            done.unreadable += len(rows) - len(anew)
            done.moved += store.write(lambda tx, here=place, texts=anew: _put(tx, here, texts)).value  # type: ignore[misc]
            after = tuple(rows[-1])[: len(place.key)]
    key_id = ring.public.key_id
    store.write(lambda tx: history.audit(tx, person(actor), "vault.reseal", name, key_id=key_id, moved=done.moved))
    return done


def _next(tx: Transaction, place: Place, ring: KeyRing, after: tuple[Any, ...]) -> list[Row[Any]]:
    return sealed.under_other_keys(tx, place, ring.public.key_id, after, AT_ONCE)


def _anew(ring: KeyRing, text: str) -> str | None:
    try:
        return ring.seal(ring.open(text))
    except VaultError:
        return None


def _put(tx: Transaction, place: Place, texts: list[tuple[Row[Any], str]]) -> int:
    return sum(sealed.replace(tx, place, row, text) for row, text in texts)


def check_retirement(tx: Transaction, ring: KeyRing, name: Ring) -> None:
    """Raises Refused while a text in the database is closed with one of the ring's old keys."""
    old = ring.key_ids[:-1]
    left = sealed.count_under(tx, name, old) if old else {}
    if left:
        places = ", ".join(f"{count} in {place}" for place, count in left.items())
        raise Refused("still_sealed", f"old keys still close {places}: run `daifu vault reseal --ring {name}`")


def retire(store: Store, ring: KeyRing, name: Ring, now: datetime, actor: str) -> KeyRing:
    """The ring without its old keys, to be saved. Raises Refused: something is still closed with one, or may come to be."""
    store.read(lambda tx: check_retirement(tx, ring, name))
    try:
        retired = ring.retire(now)
    except VaultError as error:
        raise Refused("too_early", str(error)) from None
    gone = list(ring.key_ids[:-1])
    store.write(lambda tx: history.audit(tx, person(actor), "vault.retire", name, key_ids=gone))
    return retired
