"""Where sealed texts lie, so that all of them can be closed anew when their ring has another key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Column, Text, and_, bindparam, func, literal, or_, select, text, tuple_, type_coerce, update

from pipeline.store.engine import Row, Transaction
from pipeline.store.inbox import IS_WAITING
from pipeline.store.tables import (
    agent_accounts,
    agent_old_keys,
    agents,
    dead_letters,
    purchases,
    requests,
    sessions,
    users,
)

Ring = Literal["passwords", "services"]


class Place(NamedTuple):
    """A column of sealed texts, and the columns that tell its rows apart."""

    column: Column[Any]
    key: tuple[Column[Any], ...]


PLACES: Final[Mapping[Ring, tuple[Place, ...]]] = MappingProxyType(
    {
        "passwords": (
            Place(agents.c.password_sealed, (agents.c.code,)),
            Place(agent_accounts.c.password_sealed, (agent_accounts.c.agent, agent_accounts.c.login)),
            Place(purchases.c.password_sealed, (purchases.c.id,)),
        ),
        "services": (
            Place(agents.c.merchant_key_sealed, (agents.c.code,)),
            Place(agents.c.webhook_secret_sealed, (agents.c.code,)),
            Place(agent_old_keys.c.key_sealed, (agent_old_keys.c.id,)),
            Place(users.c.totp_sealed, (users.c.id,)),
            Place(sessions.c.enrol_sealed, (sessions.c.id_hash,)),
            Place(dead_letters.c.body_sealed, (dead_letters.c.id,)),
        ),
    }
)


def under_other_keys(tx: Transaction, place: Place, key_id: str, after: Sequence[Any], most: int) -> list[Row[Any]]:
    """Texts at this place that were not closed with this key: their key's columns, then `sealed`; in the order of the key, from
    behind `after` (empty: the first)."""
    query = (
        select(*place.key, place.column.label("sealed"))
        .where(place.column.is_not(None), ~_closed_with(place.column, key_id))
        .order_by(*place.key)
        .limit(most)
    )
    if after:
        query = query.where(tuple_(*place.key) > tuple_(*(literal(value) for value in after)))
    return tx.rows(query)


def replace(tx: Transaction, place: Place, row: Row[Any], sealed: str) -> bool:
    """`sealed` in place of what `under_other_keys` found. False: it was changed, or is gone, meanwhile."""
    same = [column == value for column, value in zip(place.key, row, strict=False)]
    statement = (
        update(place.column.table).where(*same, place.column == row.sealed).values({place.column: bindparam("new")})
    )
    return tx.moved(statement, {"new": sealed}) > 0


def count_under(tx: Transaction, ring: Ring, key_ids: Sequence[str]) -> dict[str, int]:
    """How many texts are closed with one of these keys, by `table.column`; only where there are some."""
    found = {}
    for place in PLACES[ring]:
        closed = or_(*(_closed_with(place.column, key_id) for key_id in key_ids))
        found[str(place.column)] = tx.run(select(func.count()).where(closed)).scalar_one()
    if ring == "passwords":
        # Requests that overtook their orders wait with the password in their text, for ORDER_WAIT_S at most.
        named = or_(
            *(type_coerce(requests.c.payload, Text).contains(f"{key_id}.", autoescape=True) for key_id in key_ids)
        )
        waiting = select(func.count()).select_from(requests).where(and_(text(IS_WAITING), named))
        found["requests.payload"] = tx.run(waiting).scalar_one()
    return {name: count for name, count in found.items() if count}


def _closed_with(column: Column[Any], key_id: str) -> Any:
    return column.startswith(f"{key_id}.", autoescape=True)
