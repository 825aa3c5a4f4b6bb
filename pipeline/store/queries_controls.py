"""Where a pause bites: what of the pauses there are holds back an order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, or_, select

from pipeline.store.control import get_meta
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import Json, shown
from pipeline.store.tables import orders, pauses, purchases, work
from pipeline.store.work_keys import PAYING_PAUSED, Step

# Nothing holds back questions, and an agent's or an account's pause holds back nothing that is submitted or closed.
_latest = and_(purchases.c.order_no == orders.c.order_no, purchases.c.generation == orders.c.generation)
_waits_at = select(work.c.stage).where(work.c.order_no == bindparam("o"), work.c.step != Step.ASK.value)
_payable = or_(
    purchases.c.id.is_(None), purchases.c.state.in_(("accepted", "ready", "paying", "held_unpaid", "never_debited"))
)
_of_order = orders.c.order_no == bindparam("o")
_party = select(orders.c.agent, purchases.c.login).select_from(orders.outerjoin(purchases, _latest))
_party = _party.where(_of_order, orders.c.closure.is_(None), _payable)
_biting = (
    select(pauses)
    .where(
        or_(
            and_(pauses.c.scope == "stage", pauses.c.name.in_(_waits_at)),
            and_(pauses.c.scope == "agent", pauses.c.name.in_(_party.with_only_columns(orders.c.agent))),
            and_(pauses.c.scope == "account", pauses.c.name.in_(_party.with_only_columns(purchases.c.login))),
        )
    )
    .order_by(pauses.c.scope, pauses.c.name)
)


def pauses_on(tx: Transaction, order_no: str) -> list[Json]:
    """The pauses that hold this order back: who paused what, why, since when."""
    return [_shown(row) for row in tx.rows(_biting, {"o": order_no})]


def _shown(row: Row[Any]) -> Json:
    return {"scope": row.scope, "name": row.name, "reason": row.reason, "actor": row.actor, "at": shown(row.at)}


def paying_paused(tx: Transaction) -> str | None:
    """Since when `daifu recover` holds all paying back; None: it does not."""
    return get_meta(tx, PAYING_PAUSED)
