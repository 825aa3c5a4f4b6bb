"""Agents and the passwords they keep with us: what people change about them. Everything secret arrives here sealed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from pipeline.store.engine import Row, Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import agent_accounts, agents, audit_log
from pipeline.store.types import db_now

_set_callback = update(agents).where(agents.c.code == bindparam("g")).values(callback_url=bindparam("url"))
_set_password = (
    update(agents)
    .where(agents.c.code == bindparam("g"))
    .values(password_sealed=bindparam("sealed"), password_hash=bindparam("digest"))
)
_change_password = _set_password.where(
    func.coalesce(agents.c.password_hash, "") == bindparam("known"),
)
_forget_account = delete(agent_accounts).where(
    agent_accounts.c.agent == bindparam("g"), agent_accounts.c.login == bindparam("l")
)
_set_account_password = (
    update(agent_accounts)
    .where(agent_accounts.c.agent == bindparam("g"), agent_accounts.c.login == bindparam("l"))
    .values(password_sealed=bindparam("sealed"), updated_at=db_now())
)
_all = select(agents).order_by(agents.c.code)
_addresses = select(agents.c.code, agents.c.callback_url).order_by(agents.c.code)
_accounts = select(agent_accounts.c.agent, agent_accounts.c.login, agent_accounts.c.updated_at).order_by(
    agent_accounts.c.agent, agent_accounts.c.login
)
_account = select(agent_accounts.c.updated_at).where(
    agent_accounts.c.agent == bindparam("g"), agent_accounts.c.login == bindparam("l")
)
_last_act = select(func.max(audit_log.c.at)).where(
    audit_log.c.action == bindparam("action_"),
    audit_log.c.subject == bindparam("subject_"),
    audit_log.c.result == "done",  # a wrong 原密码 is in the log, too
)

SET_PASSWORD = "agents.set_password"  # noqa: S105 - the name of an act in the audit log
USE_UNIFIED = "agents.use_unified"


def add(tx: Transaction, code: str, callback_url: str, merchant_key_sealed: str, webhook_secret_sealed: str) -> bool:
    """A new agent. False: there is one with this code."""
    row = {
        "code": code,
        "callback_url": callback_url,
        "merchant_key_sealed": merchant_key_sealed,
        "webhook_secret_sealed": webhook_secret_sealed,
        "created_at": tx.run(select(db_now())).scalar_one(),
    }
    return bool(insert_new(tx, agents, [row], agents.c.code))


def set_callback(tx: Transaction, code: str, callback_url: str) -> bool:
    """False: no such agent."""
    return tx.moved(_set_callback, {"g": code, "url": callback_url}) > 0


def set_password(tx: Transaction, code: str, sealed: str, digest: str) -> bool:
    """The unified password, sealed for the payment worker, and its argon2id hash. False: no such agent."""
    return tx.moved(_set_password, {"g": code, "sealed": sealed, "digest": digest}) > 0


def change_password(tx: Transaction, code: str, sealed: str, digest: str, known: str | None) -> bool:
    """The same, where the hash is still the `known` one. False: somebody changed it meanwhile, or there is no such agent."""
    return tx.moved(_change_password, {"g": code, "sealed": sealed, "digest": digest, "known": known or ""}) > 0


def forget_account_password(tx: Transaction, code: str, login: str) -> bool:
    """The account has no password of its own any more. False: it had none."""
    return tx.moved(_forget_account, {"g": code, "l": login}) > 0


def set_account_password(tx: Transaction, code: str, login: str, sealed: str) -> None:
    """The password of one 12306 account; the agent is known to exist."""
    row = {
        "agent": code,
        "login": login,
        "password_sealed": sealed,
        "updated_at": tx.run(select(db_now())).scalar_one(),
    }
    if not insert_new(tx, agent_accounts, [row], agent_accounts.c.login):
        tx.run(_set_account_password, {"g": code, "l": login, "sealed": sealed})


def all_agents(tx: Transaction) -> list[Row[Any]]:
    return tx.rows(_all)


def addresses(tx: Transaction) -> dict[str, str]:
    """Where each agent is told, by its code."""
    return {row.code: row.callback_url for row in tx.rows(_addresses)}


def account_logins(tx: Transaction) -> dict[str, list[str]]:
    """The 12306 accounts with a password of their own, by agent."""
    found: dict[str, list[str]] = {}
    for row in tx.rows(_accounts):
        found.setdefault(row.agent, []).append(row.login)
    return found


def password_set_at(tx: Transaction, code: str, login: str) -> datetime | None:
    """Since when a lookup finds the password that it would find now: the account's own, else the unified one. None: unknown."""
    own = tx.one(_account, {"g": code, "l": login})
    if own is not None:
        moment: datetime | None = own.updated_at
        return moment
    moments = (unified_set_at(tx, code), _last(tx, USE_UNIFIED, account_subject(code, login)))
    return max((moment for moment in moments if moment is not None), default=None)


def unified_set_at(tx: Transaction, code: str) -> datetime | None:
    """When the unified password was last set. None: never, or not by an act."""
    return _last(tx, SET_PASSWORD, code)


def _last(tx: Transaction, action: str, subject: str) -> datetime | None:
    moment: datetime | None = tx.run(_last_act, {"action_": action, "subject_": subject}).scalar()
    return moment


def account_subject(code: str, login: str) -> str:
    """An agent's 12306 account, as the audit log names it where an act is about this one."""
    return f"{code} {login}"
