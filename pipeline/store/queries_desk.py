"""What the desk reads: one dead letter, accounts, pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select

from pipeline.reasons import RULES, Reason
from pipeline.store import accounts, agents, control
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import Json, shown
from pipeline.store.tables import pauses, refused_credentials

_refused = select(refused_credentials.c.login, func.count().label("n")).group_by(refused_credentials.c.login)
_last_refusal = select(func.max(refused_credentials.c.at)).where(refused_credentials.c.login == bindparam("l"))
_paused = select(pauses.c.name).where(pauses.c.scope == "account")


def letter(row: Row[Any]) -> Json:
    """One dead letter as INTERFACES section 6 shows it."""
    rule = RULES[Reason(row.reason)] if row.reason in set(Reason) else None
    return {
        "id": row.id,
        "stage": row.stage,
        "order_no": row.order_no,
        "generation": row.generation,
        "agent": row.agent,
        "reason": row.reason,
        "words": "" if rule is None else rule.words,
        "detail": row.detail,
        "attempts": row.attempts,
        "first_at": shown(row.first_at),
        "last_at": shown(row.last_at),
        "amount_fen": row.amount_fen,
        "deadline": shown(row.deadline),
        "state": row.state,
        "replays": row.replays,
        "failed_again": row.state == "open" and row.replays > 0,
        "replay": "never" if rule is None else rule.replay.value,
        "note": row.note,
        "raw": row.body_sealed is not None,
    }


def list_agents(tx: Transaction) -> list[Json]:
    """Agents without anything secret."""
    logins = agents.account_logins(tx)
    return [
        {
            "code": row.code,
            "callback": row.callback_url,
            "unified_password": row.password_sealed is not None,
            "accounts": logins.get(row.code, []),
            "created_at": shown(row.created_at),
        }
        for row in agents.all_agents(tx)
    ]


def list_accounts(tx: Transaction, now: datetime) -> list[Json]:
    """12306 accounts that were ever logged in to, with what speaks against another login."""
    refused = {row.login: int(row.n) for row in tx.rows(_refused)}
    paused = {row.name for row in tx.rows(_paused)}
    return [
        {
            "account": row.login,
            "refused_tries": row.refused_tries,
            "refused_passwords": refused.get(row.login, 0),
            "locked_until": shown(row.locked_until),
            "blocked": is_blocked(row, now),
            "paused": row.login in paused,
            "in_use_until": shown(row.lease_end),
        }
        for row in accounts.all_accounts(tx)
    ]


def is_blocked(account: Row[Any], now: datetime) -> bool:
    """No login would be made: three tries were refused, or 12306 says that it is locked."""
    locked = account.locked_until is not None and account.locked_until > now
    return bool(account.refused_tries >= accounts.MAX_REFUSED_TRIES or locked)


def last_refusal_at(tx: Transaction, login: str) -> datetime | None:
    """When 12306 last refused a password of this account, as far as nobody unblocked it since."""
    moment: datetime | None = tx.run(_last_refusal, {"l": login}).scalar()
    return moment


def list_pauses(tx: Transaction) -> list[Json]:
    return [
        {"scope": row.scope, "name": row.name, "reason": row.reason, "actor": row.actor, "at": shown(row.at)}
        for row in control.all_pauses(tx)
    ]
