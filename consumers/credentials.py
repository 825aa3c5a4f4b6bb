"""Credential lookup: message > account > unified password (DESIGN section 9). Passwords stay sealed all the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipeline import endings
from pipeline.endings import Unpaid
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import accounts, history, orders, work
from pipeline.store.engine import Row, Transaction
from pipeline.store.history import Line
from pipeline.store.work import NewRow, Step

ACTOR = "system:credentials"


class Credentials:
    """Finds the sealed 12306 password of each purchase and makes its payment due."""

    name = "credentials"

    def transact(self, tx: Transaction, keys: Sequence[str]) -> list[datetime]:
        rows = work.take(tx, keys)
        ids = [row.purchase_id for row in rows]
        # Of one that ended meanwhile the row was all that was left.
        purchases = {
            key: row for key, row in orders.load_with_passwords(tx, ids).items() if row.state == PurchaseState.ACCEPTED
        }
        found = _find(tx, list(purchases.values()))
        ready = orders.make_ready(tx, [(key, sealed) for key, (sealed, _source) in found.items()])
        moved = [purchases[key] for key in found if key in ready]
        work.add_all(tx, [NewRow(row.order_no, row.generation, Step.PAY, row.stop_at) for row in moved])
        history.tell_all(tx, [_line(row, found[row.id][1]) for row in moved])
        missing = [_missing(row) for key, row in purchases.items() if key not in found]
        endings.end_all_before_intent(tx, missing, stage=self.name, actor=ACTOR)
        return [row.created_at for row in rows]


def _find(tx: Transaction, purchases: Sequence[Row[Any]]) -> dict[str, tuple[str, str]]:
    """The sealed password of each purchase that has one, and where it is from, by purchase id."""
    found = {row.id: (row.password_sealed, "message") for row in purchases if row.password_sealed is not None}
    left = [row for row in purchases if row.id not in found]
    own = accounts.account_passwords(tx, [(row.agent, row.login) for row in left])
    unified = accounts.unified_passwords(tx, {row.agent for row in left}) if left else {}
    for row in left:
        if (row.agent, row.login) in own:
            found[row.id] = (own[row.agent, row.login], "account")
        elif row.agent in unified:
            found[row.id] = (unified[row.agent], "unified")
    return found


def _line(purchase: Row[Any], source: str) -> Line:
    detail = {"generation": purchase.generation, "source": source}
    return Line(purchase.order_no, "credentials_found", ACTOR, detail)


def _missing(purchase: Row[Any]) -> Unpaid:
    detail = f"账号 {purchase.login}: 消息、账号和统一密码都没有"
    return Unpaid(purchase, Reason.CREDENTIAL_MISSING, detail, attempts_made=1)
