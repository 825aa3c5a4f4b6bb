"""代付设置 read: an agent's unified password (whether there is one, since when), its callback address, its 12306 accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, exists, func, select, union

from pipeline.store import agents
from pipeline.store.clock import now
from pipeline.store.engine import Row, Transaction
from pipeline.store.pages import PAGE, Page, fetch
from pipeline.store.queries import Json, shown
from pipeline.store.queries_desk import is_blocked
from pipeline.store.tables import agent_accounts, pauses, purchases, railway_accounts, refused_credentials
from pipeline.store.types import one_of

# The accounts that purchases of this agent were paid with, each found by an index, and those that have passwords of their own.
_used = select(railway_accounts.c.login).where(
    exists().where(purchases.c.agent == bindparam("g"), purchases.c.login == railway_accounts.c.login)
)
_own = select(agent_accounts.c.login).where(agent_accounts.c.agent == bindparam("g"))
_several_own = select(func.count()).select_from(agent_accounts).where(agent_accounts.c.agent == bindparam("g"))
_logins = union(_used, _own).subquery("logins")
_accounts = select(
    _logins.c.login,
    func.coalesce(railway_accounts.c.refused_tries, 0).label("refused_tries"),
    railway_accounts.c.locked_until,
    agent_accounts.c.updated_at.label("own_since"),
).select_from(
    _logins.outerjoin(railway_accounts, railway_accounts.c.login == _logins.c.login).outerjoin(
        agent_accounts, (agent_accounts.c.login == _logins.c.login) & (agent_accounts.c.agent == bindparam("g"))
    )
)
_refused = (
    select(refused_credentials.c.login, func.count().label("n"))
    .where(one_of(refused_credentials.c.login))
    .group_by(refused_credentials.c.login)
)
_paused = select(pauses.c.name).where(pauses.c.scope == "account", one_of(pauses.c.name))


def payment_settings(tx: Transaction, agent: Row[Any]) -> Json:
    """What is set for this row of `agents`, without anything secret."""
    return {
        "agent": agent.code,
        "unified_password": agent.password_sealed is not None,
        "set_at": shown(agents.unified_set_at(tx, agent.code)),
        "callback": agent.callback_url,
        "own_passwords": int(tx.run(_several_own, {"g": agent.code}).scalar_one()),
    }


def page_of_accounts(tx: Transaction, code: str, cursor: str | None = None, limit: int = PAGE) -> Page:
    """The agent's 12306 accounts by login, a page at a time. Raises BadCursor."""
    query = _accounts.params(g=code)
    rows, following = fetch(tx, query, [_logins.c.login], cursor, limit, descending=False)
    named = {"keys": [row.login for row in rows]}
    refused = {row.login: int(row.n) for row in tx.rows(_refused, named)}
    paused = {row.name for row in tx.rows(_paused, named)}
    moment = now(tx)
    return Page(
        [_account(row, refused.get(row.login, 0), moment, paused=row.login in paused) for row in rows], following
    )


def _account(row: Row[Any], refused_passwords: int, moment: datetime, *, paused: bool) -> Json:
    return {
        "account": row.login,
        "own_password_since": shown(row.own_since),
        "refused_tries": row.refused_tries,
        "refused_passwords": refused_passwords,
        "locked_until": shown(row.locked_until),
        "blocked": is_blocked(row, moment),
        "paused": paused,
    }
