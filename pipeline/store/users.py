"""The people of the console. Passwords arrive as argon2id hashes, TOTP secrets sealed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from pipeline.store.engine import Row, Transaction
from pipeline.store.queries import shown
from pipeline.store.rows import insert_new
from pipeline.store.tables import users
from pipeline.store.types import db_now

Json = dict[str, Any]

_by_name = select(users).where(users.c.name == bindparam("n"))
_by_id = select(users).where(users.c.id == bindparam("u"))
_all = select(users).order_by(users.c.name)
_of_agent = _all.where(users.c.agent == bindparam("g"))
_any = select(exists(select(users.c.id)))
_supervisors = select(func.count()).where(
    users.c.role == "supervisor", users.c.disabled_at.is_(None), users.c.password_hash.is_not(None)
)
_this = users.c.id == bindparam("u")
_set_password = update(users).where(_this).values(password_hash=bindparam("digest"), password_set_at=db_now())
_set_totp = update(users).where(_this).values(totp_sealed=bindparam("sealed"), totp_step=bindparam("step"))
_use_step = (
    update(users)
    .where(_this, or_(users.c.totp_step.is_(None), users.c.totp_step < bindparam("step")))
    .values(totp_step=bindparam("step"))
)
_disable = update(users).where(_this, users.c.disabled_at.is_(None)).values(disabled_at=db_now())
_enable = update(users).where(_this, users.c.disabled_at.is_not(None)).values(disabled_at=None)
_signed_in = update(users).where(_this).values(signed_in_at=db_now())
_lock = update(users).where(and_(users.c.role == "supervisor")).values(role=users.c.role)


def add(
    tx: Transaction, name: str, role: str, agent: str | None, password_hash: str | None, *, sub: bool = False
) -> bool:
    """A new user. False: there is one of this name."""
    now = tx.run(select(db_now())).scalar_one()
    row = {
        "name": name,
        "role": role,
        "agent": agent,
        "password_hash": password_hash,
        "password_set_at": None if password_hash is None else now,
        "created_at": now,
        "sub": sub,
    }
    return bool(insert_new(tx, users, [row], users.c.name))


def by_name(tx: Transaction, name: str) -> Row[Any] | None:
    return tx.one(_by_name, {"n": name})


def by_id(tx: Transaction, user_id: int) -> Row[Any] | None:
    return tx.one(_by_id, {"u": user_id})


def is_any(tx: Transaction) -> bool:
    return bool(tx.run(_any).scalar_one())


def supervisors(tx: Transaction) -> int:
    """How many could sign in as supervisor. Their rows stay locked until the commit, so that two can't remove each other."""
    tx.run(_lock)
    return int(tx.run(_supervisors).scalar_one())


def set_password(tx: Transaction, user_id: int, digest: str | None) -> None:
    """None: nobody can sign in with a password until a one-time link was used."""
    tx.run(_set_password, {"u": user_id, "digest": digest})


def set_totp(tx: Transaction, user_id: int, sealed: str | None, step: int | None) -> None:
    tx.run(_set_totp, {"u": user_id, "sealed": sealed, "step": step})


def use_step(tx: Transaction, user_id: int, step: int) -> bool:
    """A code counts once. False: this one, or a later one, was used before."""
    return tx.moved(_use_step, {"u": user_id, "step": step}) > 0


def disable(tx: Transaction, user_id: int) -> bool:
    return tx.moved(_disable, {"u": user_id}) > 0


def enable(tx: Transaction, user_id: int) -> bool:
    return tx.moved(_enable, {"u": user_id}) > 0


def signed_in(tx: Transaction, user_id: int) -> None:
    tx.run(_signed_in, {"u": user_id})


def user(row: Row[Any]) -> Json:
    """One user without anything secret."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "agent": row.agent,
        "sub": row.sub,
        "password": row.password_hash is not None,
        "totp": row.totp_sealed is not None,
        "disabled": row.disabled_at is not None,
        "created_at": shown(row.created_at),
        "signed_in_at": shown(row.signed_in_at),
    }


def list_users(tx: Transaction) -> list[Json]:
    return [user(row) for row in tx.rows(_all)]


def users_beside(tx: Transaction, user_id: int) -> list[Json]:
    """Of an agent's main account all accounts of its agent; of a sub-account itself."""
    me = by_id(tx, user_id)
    if me is None or me.sub or me.agent is None:
        return [] if me is None else [user(me)]
    return [user(row) for row in tx.rows(_of_agent, {"g": me.agent})]
