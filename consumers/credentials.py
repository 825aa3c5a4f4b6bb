"""Credential lookup: message > account > unified password (DESIGN section 9). Passwords stay sealed all the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import endings
from pipeline.reasons import Reason
from pipeline.states import PurchaseState
from pipeline.store import accounts, history, orders, work
from pipeline.store.engine import Row, Transaction
from pipeline.store.work import Step

ACTOR = "system:credentials"


class Credentials:
    """Finds the sealed 12306 password of each purchase and makes its payment due."""

    name = "credentials"

    def transact(self, tx: Transaction, keys: Sequence[str]) -> None:
        rows = work.take(tx, keys)
        purchases = orders.load_purchases(tx, [row.purchase_id for row in rows])
        agents = accounts.load_agents(tx, {purchase.agent for purchase in purchases.values()})
        for row in rows:
            purchase = purchases.get(row.purchase_id)
            if purchase is None or purchase.state != PurchaseState.ACCEPTED:
                continue  # it ended meanwhile: the row was all that was left
            sealed, source = _find(tx, purchase, agents.get(purchase.agent))
            if sealed is None:
                detail = f"账号 {purchase.login}: 消息、账号和统一密码都没有"
                endings.end_before_intent(
                    tx, purchase, Reason.CREDENTIAL_MISSING, detail, stage=self.name, actor=ACTOR, attempts_made=1
                )
                continue
            if not orders.move(tx, purchase.id, PurchaseState.ACCEPTED, PurchaseState.READY):
                continue
            orders.update_purchase(tx, purchase.id, password_sealed=sealed)
            work.add(tx, row.order_no, row.generation, Step.PAY, urgency=purchase.stop_at)
            history.tell(tx, row.order_no, "credentials_found", ACTOR, generation=row.generation, source=source)


def _find(tx: Transaction, purchase: Row[Any], agent: Row[Any] | None) -> tuple[str | None, str]:
    if purchase.password_sealed is not None:
        return purchase.password_sealed, "message"
    own = accounts.account_password(tx, purchase.agent, purchase.login)
    if own is not None:
        return own, "account"
    return (None if agent is None else agent.password_sealed), "unified"
