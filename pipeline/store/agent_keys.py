"""The keys of an agent, sealed: what it signs with (merchant), and what proves our calls to it (webhook secret).

The current ones stand in `agents`. A key that was replaced stays good for `OVERLAP`, in `agent_old_keys`, so that the agent changes
its own programs when it can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, and_, bindparam, delete, select, update

from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_rows
from pipeline.store.tables import agent_old_keys, agents
from pipeline.store.types import db_now, one_of

OVERLAP: Final = timedelta(hours=24)  # as Svix and Stripe keep a rolled secret


class KeyKind(StrEnum):
    MERCHANT = "merchant"
    WEBHOOK = "webhook"


class SealedKey(NamedTuple):
    """`ends_at`: until when a replaced key is good; None: the current one."""

    sealed: str
    ends_at: datetime | None


class Callee(NamedTuple):
    """An agent as notification needs it. `merchant` and `webhook`: the keys that are good now, the current one first."""

    url: str
    merchant: list[SealedKey]
    webhook: list[SealedKey]


_COLUMNS: Final[Mapping[KeyKind, Column[Any]]] = MappingProxyType(
    {KeyKind.MERCHANT: agents.c.merchant_key_sealed, KeyKind.WEBHOOK: agents.c.webhook_secret_sealed}
)
_current = {
    kind: select(agents.c.code, column.label("sealed")).where(one_of(agents.c.code))
    for kind, column in _COLUMNS.items()
}
_still_good = and_(agent_old_keys.c.agent == agents.c.code, agent_old_keys.c.ends_at > db_now())
_callees = (
    select(
        agents.c.code,
        agents.c.callback_url,
        agents.c.merchant_key_sealed,
        agents.c.webhook_secret_sealed,
        agent_old_keys.c.kind,
        agent_old_keys.c.key_sealed,
        agent_old_keys.c.ends_at,
    )
    .select_from(agents.outerjoin(agent_old_keys, _still_good))
    .where(one_of(agents.c.code))
    .order_by(agent_old_keys.c.id.desc())
)
_old = (
    select(agent_old_keys.c.agent, agent_old_keys.c.kind, agent_old_keys.c.key_sealed, agent_old_keys.c.ends_at)
    .where(one_of(agent_old_keys.c.agent), agent_old_keys.c.ends_at > db_now())
    .order_by(agent_old_keys.c.id.desc())
)
_replace = {
    kind: update(agents)
    .where(agents.c.code == bindparam("g"), column == bindparam("known"))
    .values({column: bindparam("new")})
    for kind, column in _COLUMNS.items()
}
_of_agent = delete(agent_old_keys).where(
    agent_old_keys.c.agent == bindparam("g"), agent_old_keys.c.kind == bindparam("kind")
)
_ended = delete(agent_old_keys).where(agent_old_keys.c.ends_at <= db_now())


def good(tx: Transaction, codes: Iterable[str], kind: KeyKind) -> dict[str, list[SealedKey]]:
    """The keys that are good now, by agent: the current one, then replaced ones, the latest first. Unknown agents are missing."""
    keys = list(codes)
    found = {row.code: row.sealed for row in tx.rows(_current[kind], {"keys": keys})}
    replaced = _replaced(tx, keys)
    return {code: [SealedKey(sealed, None), *replaced[code, kind]] for code, sealed in found.items()}


def callees(tx: Transaction, codes: Iterable[str]) -> dict[str, Callee]:
    """Where agents are told, and with which keys; one statement, however many: a row for each replaced key, or one without."""
    found: dict[str, Callee] = {}
    for row in tx.rows(_callees, {"keys": list(codes)}):
        current = [SealedKey(row.merchant_key_sealed, None)], [SealedKey(row.webhook_secret_sealed, None)]
        callee = found.setdefault(row.code, Callee(row.callback_url, *current))
        if row.kind is not None:
            keys = callee.merchant if row.kind == KeyKind.MERCHANT else callee.webhook
            keys.append(SealedKey(row.key_sealed, row.ends_at))
    return found


def _replaced(tx: Transaction, codes: list[str]) -> defaultdict[tuple[str, str], list[SealedKey]]:
    """By agent and kind."""
    found: defaultdict[tuple[str, str], list[SealedKey]] = defaultdict(list)
    for row in tx.rows(_old, {"keys": codes}):
        found[row.agent, row.kind].append(SealedKey(row.key_sealed, row.ends_at))
    return found


def replace(tx: Transaction, code: str, kind: KeyKind, known: str, new: str, overlap: timedelta) -> datetime | None:
    """`new` in place of the sealed key `known`, which stays good for `overlap`; with none, no older key is good any more.

    Returns until when the replaced key is good; None: it was changed by somebody else meanwhile.
    """
    if tx.moved(_replace[kind], {"g": code, "known": known, "new": new}) == 0:
        return None
    tx.run(_ended)
    ends_at = now(tx) + overlap
    if overlap:
        row = {"agent": code, "kind": kind.value, "key_sealed": known, "ends_at": ends_at}
        insert_rows(tx, agent_old_keys, [row])
    else:
        tx.run(_of_agent, {"g": code, "kind": kind.value})
    return ends_at
