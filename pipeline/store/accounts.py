"""12306 accounts and agents: leases by login, counted login tries, sealed passwords (DESIGN sections 4, 5.7, 9)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, exists, or_, select, update

from pipeline.store.clock import now
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.tables import agent_accounts, agents, railway_accounts, refused_credentials, workers
from pipeline.store.types import db_now, one_of, seconds_us

FREED_MEANWHILE = timedelta(seconds=1)  # its holder let go between our try and our look
MAX_REFUSED_TRIES = 3  # the fourth locks the account at 12306 (wire-protocols B.1)

_holder_alive = exists(
    select(workers.c.id).where(
        workers.c.id == railway_accounts.c.lease_owner, workers.c.alive_until >= db_now(), workers.c.closed_at.is_(None)
    )
)
_free = or_(railway_accounts.c.lease_owner.is_(None), railway_accounts.c.lease_end < db_now(), ~_holder_alive)
_lease = (
    update(railway_accounts)
    .where(
        railway_accounts.c.login == bindparam("l"),
        or_(
            _free,
            and_(railway_accounts.c.lease_owner == bindparam("owner"), railway_accounts.c.lease_key == bindparam("k")),
        ),
    )
    .values(lease_owner=bindparam("owner"), lease_key=bindparam("k"), lease_end=db_now() + bindparam("lease_us"))
)
_lease_end = select(railway_accounts.c.lease_end).where(railway_accounts.c.login == bindparam("l"))
_release = (
    update(railway_accounts)
    .where(one_of(railway_accounts.c.lease_key), railway_accounts.c.lease_owner == bindparam("owner"))
    .values(lease_owner=None, lease_key=None, lease_end=None)
    .returning(railway_accounts.c.login)
)
_count_try = (
    update(railway_accounts)
    .where(
        railway_accounts.c.login == bindparam("l"),
        railway_accounts.c.refused_tries < MAX_REFUSED_TRIES,
        or_(railway_accounts.c.locked_until.is_(None), railway_accounts.c.locked_until < db_now()),
    )
    .values(refused_tries=railway_accounts.c.refused_tries + 1)
)
_uncount_try = (
    update(railway_accounts)
    .where(railway_accounts.c.login == bindparam("l"), railway_accounts.c.refused_tries > 0)
    .values(refused_tries=railway_accounts.c.refused_tries - 1)
)
_clear_tries = (
    update(railway_accounts)
    .where(railway_accounts.c.login == bindparam("l"))
    .values(refused_tries=0, locked_until=None)
)
_lock = (
    update(railway_accounts)
    .where(railway_accounts.c.login == bindparam("l"))
    .values(locked_until=bindparam("until", type_=railway_accounts.c.locked_until.type))
)
_refused = select(refused_credentials.c.login).where(
    refused_credentials.c.login == bindparam("l"), refused_credentials.c.fingerprint == bindparam("fp")
)
_account = select(railway_accounts).where(railway_accounts.c.login == bindparam("l"))
_agents = select(agents).where(one_of(agents.c.code))
_account_password = select(agent_accounts).where(
    and_(agent_accounts.c.agent == bindparam("g"), agent_accounts.c.login == bindparam("l"))
)


def know(tx: Transaction, login: str) -> None:
    """Make sure the account has a row to lease."""
    insert_new(tx, railway_accounts, [{"login": login}], railway_accounts.c.login)


def lease(tx: Transaction, login: str, owner: str, key: str, lease_s: float) -> datetime | None:
    """Take the account for one call. None: it is ours; otherwise when its holder's lease would end."""
    know(tx, login)
    if tx.moved(_lease, {"l": login, "owner": owner, "k": key, "lease_us": seconds_us(lease_s)}):
        return None
    end: datetime | None = tx.run(_lease_end, {"l": login}).scalar_one()
    return end or now(tx) + FREED_MEANWHILE


def release(tx: Transaction, keys: Iterable[str], owner: str) -> list[str]:
    """Free the accounts that were leased for these work rows; returns their logins."""
    return [row.login for row in tx.rows(_release, {"keys": list(keys), "owner": owner})]


def count_try(tx: Transaction, login: str) -> bool:
    """Count a login try before it is made. False: three were refused already, or 12306 said it is locked."""
    return tx.moved(_count_try, {"l": login}) > 0


def uncount_try(tx: Transaction, login: str) -> None:
    """The try ended without a word on the password."""
    tx.run(_uncount_try, {"l": login})


def clear_tries(tx: Transaction, login: str) -> None:
    """A login went through, or a person unblocked the account."""
    tx.run(_clear_tries, {"l": login})


def lock(tx: Transaction, login: str, until: datetime) -> None:
    """12306 says the account is locked."""
    tx.run(_lock, {"l": login, "until": until})


def refuse_credential(tx: Transaction, login: str, fingerprint: str, at: datetime) -> None:
    """This password was refused for this login: never try it again."""
    row = {"login": login, "fingerprint": fingerprint, "at": at}
    insert_new(tx, refused_credentials, [row], refused_credentials.c.login)


def is_refused(tx: Transaction, login: str, fingerprint: str) -> bool:
    return tx.one(_refused, {"l": login, "fp": fingerprint}) is not None


def unblock(tx: Transaction, login: str) -> bool:
    """A person put the account right: tries and refused passwords are forgotten. False: no such account."""
    tx.run(delete(refused_credentials).where(refused_credentials.c.login == login))
    return tx.moved(_clear_tries, {"l": login}) > 0


def account(tx: Transaction, login: str) -> Row[Any] | None:
    return tx.one(_account, {"l": login})


def all_accounts(tx: Transaction) -> list[Row[Any]]:
    return tx.rows(select(railway_accounts).order_by(railway_accounts.c.login))


def load_agents(tx: Transaction, codes: Iterable[str]) -> dict[str, Row[Any]]:
    return {row.code: row for row in tx.rows(_agents, {"keys": list(codes)})}


def account_password(tx: Transaction, agent: str, login: str) -> str | None:
    """The sealed password that the agent set for this login, if any."""
    row = tx.one(_account_password, {"g": agent, "l": login})
    return None if row is None else str(row.password_sealed)
