"""What the desk reads: dead letters, their groups, tasks, accounts, pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, func, select

from pipeline.reasons import RULES, Reason
from pipeline.store import accounts, agents, control, dead_letters, tasks
from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import Json, shown
from pipeline.store.tables import dead_letters as letters
from pipeline.store.tables import pauses, refused_credentials

_groups = (
    select(
        letters.c.reason,
        func.count().label("letters"),
        func.coalesce(func.sum(letters.c.amount_fen), 0).label("amount_fen"),
        func.min(letters.c.deadline).label("deadline"),
        func.sum(case((letters.c.replays > 0, 1), else_=0)).label("failed_again"),
    )
    .where(letters.c.state == "open")
    .group_by(letters.c.reason)
    .order_by(func.count().desc(), letters.c.reason)
)
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


def list_letters(
    tx: Transaction, *, stage: str | None = None, reason: str | None = None, state: str | None = None
) -> list[Json]:
    """Dead letters, open ones first, nearest deadline first."""
    found = [letter(row) for row in dead_letters.find(tx, stage=stage, reason=reason, state=state)]
    return sorted(found, key=lambda one: one["state"] != "open")


def letter_groups(tx: Transaction) -> list[Json]:
    """Open dead letters by reason: how many, their sum, the nearest deadline, how many failed again."""
    return [
        {
            "reason": row.reason,
            "words": RULES[Reason(row.reason)].words if row.reason in set(Reason) else "",
            "letters": int(row.letters),
            "amount_fen": int(row.amount_fen),
            "deadline": shown(row.deadline),
            "failed_again": int(row.failed_again),
        }
        for row in tx.rows(_groups)
    ]


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


def task(row: Row[Any]) -> Json:
    return {
        "id": row.id,
        "kind": row.kind,
        "order_no": row.order_no,
        "reason": row.reason,
        "opened_at": shown(row.opened_at),
        "taken_by": row.taken_by,
        "taken_at": shown(row.taken_at),
        "closed_by": row.closed_by,
        "closed_at": shown(row.closed_at),
        "resolution": row.resolution,
        "evidence": row.evidence,
    }


def list_tasks(tx: Transaction, *, open_only: bool = True) -> list[Json]:
    """What only a person can finish, oldest first."""
    return [task(row) for row in tasks.find(tx, open_only=open_only)]


def list_pauses(tx: Transaction) -> list[Json]:
    return [
        {"scope": row.scope, "name": row.name, "reason": row.reason, "actor": row.actor, "at": shown(row.at)}
        for row in control.all_pauses(tx)
    ]
