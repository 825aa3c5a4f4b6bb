"""12306 accounts and agents: leases by login, counted login tries, sealed passwords (DESIGN sections 4, 5.7, 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Boolean, Row, Text, and_, bindparam, delete, exists, or_, select, update

from pipeline.store.clock import now, stamp
from pipeline.store.engine import Transaction
from pipeline.store.rows import insert_new
from pipeline.store.sets import OverRows
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
# An account that is ours for this very row was leased by a commit whose answer was lost.
_lease = OverRows(
    {"login": Text(), "key": Text(), "first": Boolean()},
    lambda given: (
        update(railway_accounts)
        .where(
            given.has(railway_accounts.c.login, "login"),
            or_(
                and_(_free, given.c.first),
                and_(railway_accounts.c.lease_owner == bindparam("owner"), railway_accounts.c.lease_key == given.c.key),
            ),
        )
        .values(lease_owner=bindparam("owner"), lease_key=given.c.key, lease_end=db_now() + bindparam("lease_us"))
        .returning(railway_accounts.c.login, railway_accounts.c.lease_key)
    ),
)
_release = (
    update(railway_accounts)
    .where(
        one_of(railway_accounts.c.login, "logins"),  # its key: there may be millions
        one_of(railway_accounts.c.lease_key),
        railway_accounts.c.lease_owner == bindparam("owner"),
    )
    .values(lease_owner=None, lease_key=None, lease_end=None)
    .returning(railway_accounts.c.login)
)
_count_tries = OverRows(
    {"login": Text(), "fingerprint": Text()},
    lambda given: (
        update(railway_accounts)
        .where(
            given.has(railway_accounts.c.login, "login"),
            given.guard(
                railway_accounts.c.refused_tries < MAX_REFUSED_TRIES,
                or_(railway_accounts.c.locked_until.is_(None), railway_accounts.c.locked_until < db_now()),
                ~exists(
                    select(refused_credentials.c.login)
                    .where(
                        refused_credentials.c.login == given.c.login,
                        refused_credentials.c.fingerprint == given.c.fingerprint,
                    )
                    .correlate(given.rows)
                ),
            ),
        )
        .values(refused_tries=railway_accounts.c.refused_tries + 1)
        .returning(railway_accounts.c.login, railway_accounts.c.refused_tries)
    ),
)
_uncount_try = (
    update(railway_accounts)
    .where(railway_accounts.c.login == bindparam("l"), railway_accounts.c.refused_tries > 0)
    .values(refused_tries=railway_accounts.c.refused_tries - 1)
)
_take_back_tries = OverRows(
    {"login": Text(), "counted": BigInteger(), "left": BigInteger()},
    lambda given: (
        update(railway_accounts)
        .where(
            given.has(railway_accounts.c.login, "login"),
            given.guard(railway_accounts.c.refused_tries == given.c.counted),
        )
        .values(refused_tries=given.c.left, locked_until=None)  # it was over, or no try would have been counted
    ),
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
_refused = select(refused_credentials.c.login, refused_credentials.c.fingerprint).where(
    one_of(refused_credentials.c.login)
)
_accounts = select(railway_accounts).where(one_of(railway_accounts.c.login))
_agents = select(agents).where(one_of(agents.c.code))
_codes = select(agents.c.code).where(one_of(agents.c.code))
_unified = select(agents.c.code, agents.c.password_sealed).where(
    one_of(agents.c.code), agents.c.password_sealed.is_not(None)
)
_account_passwords = select(agent_accounts.c.agent, agent_accounts.c.login, agent_accounts.c.password_sealed).where(
    one_of(agent_accounts.c.agent, "agents"), one_of(agent_accounts.c.login, "logins")
)


def know(tx: Transaction, *logins: str) -> set[str]:
    """Make sure the accounts have rows to count tries in; those that had none."""
    return insert_new(tx, railway_accounts, [{"login": login} for login in set(logins)], railway_accounts.c.login)


def lease(tx: Transaction, wanted: Sequence[tuple[str, str]], owner: str, lease_s: float) -> dict[str, datetime]:
    """Take accounts, each for one call: (login, work key), the more urgent first.

    Returns the work keys that must wait, with when their account's holder's lease would end; the others have theirs.
    """
    if not wanted:
        return {}
    logins = {login for login, _key in wanted}
    first: dict[str, str] = {}
    for login, key in wanted:
        first.setdefault(login, key)
    rows = [(login, key, first[login] == key) for login, key in wanted]
    found = _leased(tx, rows, owner, lease_s)
    leased = {row.lease_key for row in found}
    missing = logins - {row.login for row in found}
    leased |= {first[login] for login in _leased_first(tx, {login: first[login] for login in missing}, owner, lease_s)}
    waiting = [(login, key) for login, key in wanted if key not in leased]
    if not waiting:
        return {}
    moment, known = now(tx), find(tx, *(login for login, _key in waiting))
    return {key: known[login].lease_end or moment + FREED_MEANWHILE for login, key in waiting}


def _leased(tx: Transaction, rows: Sequence[tuple[str, str, bool]], owner: str, lease_s: float) -> list[Row[Any]]:
    return _lease.run(tx, rows, owner=owner, lease_us=seconds_us(lease_s))


def _leased_first(tx: Transaction, wanted: Mapping[str, str], owner: str, lease_s: float) -> set[str]:
    """Of these logins those that nobody used before: their accounts get their rows, leased for these work keys."""
    end = stamp(tx) + timedelta(seconds=lease_s)
    rows = [{"login": login, "lease_owner": owner, "lease_key": key, "lease_end": end} for login, key in wanted.items()]
    return insert_new(tx, railway_accounts, rows, railway_accounts.c.login)


def release(tx: Transaction, leased: Sequence[tuple[str, str]], owner: str) -> list[str]:
    """Free accounts, (login, work key), that are still leased for these work rows; returns their logins."""
    given = {"logins": [login for login, _key in leased], "keys": [key for _login, key in leased], "owner": owner}
    return [row.login for row in tx.rows(_release, given)]


def count_tries(tx: Transaction, tries: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Count a login try of each (login, fingerprint of the password) before it is made, each login at most once; how many are
    counted now. Missing are those where this password or three tries were refused already, or 12306 said it is locked."""
    counted = _counted(tx, tries)
    left = {login for login, _fingerprint in tries if login not in counted}
    new = know(tx, *left) if left else ()
    return counted | _counted(tx, [one for one in tries if one[0] in new]) if new else counted


def _counted(tx: Transaction, tries: Sequence[tuple[str, str]]) -> dict[str, int]:
    return {row.login: row.refused_tries for row in _count_tries.run(tx, tries)}


def uncount_try(tx: Transaction, login: str) -> None:
    """The try ended without a word on the password."""
    tx.run(_uncount_try, {"l": login})


def take_back_tries(tx: Transaction, owed: Sequence[tuple[str, int, int]]) -> None:
    """(login, counted, left): tries that were none, and all of them where a login went through. Where another number is counted
    by now, this was written before, or somebody else has had the account: nothing is taken back twice, and what was counted since
    stays."""
    _take_back_tries.run(tx, owed)


def lock(tx: Transaction, login: str, until: datetime) -> None:
    """12306 says the account is locked."""
    tx.run(_lock, {"l": login, "until": until})


def refuse_credential(tx: Transaction, login: str, fingerprint: str, at: datetime) -> None:
    """This password was refused for this login: never try it again."""
    row = {"login": login, "fingerprint": fingerprint, "at": at}
    insert_new(tx, refused_credentials, [row], refused_credentials.c.login)


def refused_passwords(tx: Transaction, logins: Iterable[str]) -> set[tuple[str, str]]:
    """(login, fingerprint) of every password that was refused for one of these logins."""
    return {(row.login, row.fingerprint) for row in tx.rows(_refused, {"keys": list(logins)})}


def unblock(tx: Transaction, login: str) -> bool:
    """A person put the account right: tries and refused passwords are forgotten. False: no such account."""
    tx.run(delete(refused_credentials).where(refused_credentials.c.login == login))
    return tx.moved(_clear_tries, {"l": login}) > 0


def find(tx: Transaction, *logins: str) -> dict[str, Row[Any]]:
    """The accounts with these logins; unknown ones are missing."""
    return {row.login: row for row in tx.rows(_accounts, {"keys": logins})}


def account(tx: Transaction, login: str) -> Row[Any] | None:
    return find(tx, login).get(login)


def all_accounts(tx: Transaction) -> list[Row[Any]]:
    return tx.rows(select(railway_accounts).order_by(railway_accounts.c.login))


def load_agents(tx: Transaction, codes: Iterable[str]) -> dict[str, Row[Any]]:
    """All there is about them: only the console and the operators' commands may read it. Stages ask for what they need."""
    return {row.code: row for row in tx.rows(_agents, {"keys": list(codes)})}


def known_agents(tx: Transaction, codes: Iterable[str]) -> set[str]:
    """Those of these agents that exist."""
    return {row.code for row in tx.rows(_codes, {"keys": list(codes)})}


def unified_passwords(tx: Transaction, codes: Iterable[str]) -> dict[str, str]:
    """The sealed unified passwords of those agents that have one."""
    return {row.code: row.password_sealed for row in tx.rows(_unified, {"keys": list(codes)})}


def account_passwords(tx: Transaction, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The sealed passwords that agents set for their logins, by (agent, login)."""
    pairs = set(wanted)
    if not pairs:
        return {}
    named = {"agents": sorted({agent for agent, _ in pairs}), "logins": sorted({login for _, login in pairs})}
    return {(row.agent, row.login): str(row.password_sealed) for row in tx.rows(_account_passwords, named)}


def account_password(tx: Transaction, agent: str, login: str) -> str | None:
    """The sealed password that the agent set for this login, if any."""
    return account_passwords(tx, [(agent, login)]).get((agent, login))
