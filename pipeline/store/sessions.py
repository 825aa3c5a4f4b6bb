"""Sessions and one-time links. What the browser holds is nowhere here, only its SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from pipeline.store.engine import Row, Transaction
from pipeline.store.tables import one_time_links, sessions, users
from pipeline.store.types import db_now, seconds_us

_open = insert(sessions).values(
    id_hash=bindparam("h"),
    user_id=bindparam("u"),
    stage=bindparam("s"),
    enrol_sealed=bindparam("e"),
    address=bindparam("a"),
    created_at=db_now(),
    seen_at=db_now(),
    ends_at=db_now() + bindparam("lasts_us"),
)
_find = (
    select(
        sessions.c.id_hash,
        sessions.c.stage,
        sessions.c.enrol_sealed,
        sessions.c.user_id,
        (sessions.c.seen_at < db_now() - bindparam("touch_us")).label("stale"),
        (sessions.c.created_at > db_now() - bindparam("fresh_us")).label("fresh"),
        users.c.name,
        users.c.role,
        users.c.agent,
        users.c.totp_sealed,
    )
    .select_from(sessions.join(users, users.c.id == sessions.c.user_id))
    .where(
        sessions.c.id_hash == bindparam("h"),
        sessions.c.ends_at > db_now(),
        sessions.c.seen_at > db_now() - bindparam("idle_us"),
        users.c.disabled_at.is_(None),
    )
)
_touch = update(sessions).where(sessions.c.id_hash == bindparam("h")).values(seen_at=db_now())
_renew = (
    update(sessions)
    .where(sessions.c.id_hash == bindparam("h"))
    .values(id_hash=bindparam("new"), created_at=db_now(), seen_at=db_now())
)
_of_user = (
    select(sessions.c.id_hash, sessions.c.address, sessions.c.created_at, sessions.c.seen_at)
    .where(
        sessions.c.user_id == bindparam("u"),
        sessions.c.stage == "full",
        sessions.c.ends_at > db_now(),
        sessions.c.seen_at > db_now() - bindparam("idle_us"),
    )
    .order_by(sessions.c.seen_at.desc())
)
_close = delete(sessions).where(sessions.c.id_hash == bindparam("h"))
_close_of = delete(sessions).where(sessions.c.user_id == bindparam("u"), sessions.c.id_hash != bindparam("but"))
_purge = delete(sessions).where(sessions.c.ends_at < db_now())

_make_link = insert(one_time_links).values(
    token_hash=bindparam("h"), user_id=bindparam("u"), created_at=db_now(), ends_at=db_now() + bindparam("lasts_us")
)
_good = and_(
    one_time_links.c.token_hash == bindparam("h"),
    one_time_links.c.used_at.is_(None),
    one_time_links.c.ends_at > db_now(),
)
_find_link = (
    select(one_time_links.c.user_id, users.c.name, users.c.role)
    .select_from(one_time_links.outerjoin(users, users.c.id == one_time_links.c.user_id))
    .where(_good, or_(one_time_links.c.user_id.is_(None), users.c.disabled_at.is_(None)))
)
_use_link = update(one_time_links).where(_good).values(used_at=db_now())
_void_links = delete(one_time_links).where(one_time_links.c.user_id == bindparam("u"))
_void_first = delete(one_time_links).where(one_time_links.c.user_id.is_(None))


def open_session(
    tx: Transaction, id_hash: str, user_id: int, stage: str, address: str, lasts_s: float, enrol_sealed: str | None
) -> None:
    """A new session; whoever opens one also clears away those that ended."""
    tx.run(_purge)
    lasts_us = seconds_us(lasts_s)
    tx.run(_open, {"h": id_hash, "u": user_id, "s": stage, "e": enrol_sealed, "a": address, "lasts_us": lasts_us})


def find(tx: Transaction, id_hash: str, idle_s: float, touch_s: float, fresh_s: float) -> Row[Any] | None:
    """The session with its user, while it is neither idle for too long nor over and the user is not disabled.

    `stale`: it was last touched more than `touch_s` ago. `fresh`: whose it is was proven within `fresh_s`.
    """
    limits = {"idle_us": seconds_us(idle_s), "touch_us": seconds_us(touch_s), "fresh_us": seconds_us(fresh_s)}
    return tx.one(_find, {"h": id_hash, **limits})


def renew(tx: Transaction, id_hash: str, new_hash: str) -> bool:
    """It was proven anew whose session it is: another cookie, the same end. False: it is closed."""
    return tx.moved(_renew, {"h": id_hash, "new": new_hash}) > 0


def of_user(tx: Transaction, user_id: int, idle_s: float) -> Sequence[Row[Any]]:
    """Every session of a user that could still be used, the one used last first; `created_at`: when it was proven whose it is."""
    return tx.rows(_of_user, {"u": user_id, "idle_us": seconds_us(idle_s)})


def touch(tx: Transaction, id_hash: str) -> None:
    tx.run(_touch, {"h": id_hash})


def close(tx: Transaction, id_hash: str) -> bool:
    """False: it was closed before."""
    return tx.moved(_close, {"h": id_hash}) > 0


def close_of(tx: Transaction, user_id: int, *, but: str | None = None) -> int:
    """End all sessions of a user, but perhaps one. Returns how many."""
    return tx.moved(_close_of, {"u": user_id, "but": but or ""})  # no session's hash is empty


def make_link(tx: Transaction, token_hash: str, user_id: int | None, lasts_s: float) -> None:
    """A one-time link; earlier ones of the same user are void."""
    if user_id is not None:
        void_links(tx, user_id)
    tx.run(_make_link, {"h": token_hash, "u": user_id, "lasts_us": seconds_us(lasts_s)})


def find_link(tx: Transaction, token_hash: str) -> Row[Any] | None:
    """`user_id` (None: makes the first supervisor), `name`, `role`; None: unknown, used, over, or its user is disabled."""
    return tx.one(_find_link, {"h": token_hash})


def use_link(tx: Transaction, token_hash: str) -> bool:
    """False: it was used before, or is over."""
    return tx.moved(_use_link, {"h": token_hash}) > 0


def void_links(tx: Transaction, user_id: int) -> None:
    tx.run(_void_links, {"u": user_id})


def void_first_links(tx: Transaction) -> None:
    tx.run(_void_first)
