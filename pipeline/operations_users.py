"""The people of the console: who may sign in, in which role. The CLI and the page 用户管理 act through these functions."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.operations_errors import PERSON, NotFound, Refused, person, words_of
from pipeline.secret import Secret
from pipeline.store import accounts, history, sessions, sign_in_tries, users
from pipeline.store.engine import Row, Transaction

LINK_S = 24 * 3600.0
FIRST_LINK_S = 1800.0
TOKEN_BYTES = 32
_NAME = re.compile(r"[0-9a-z][0-9a-z_.@-]{0,63}")


class Role(StrEnum):
    AGENT = "agent"  # sees the orders of its own agent
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True)
class NewUser:
    """`link`: the token of a one-time link, where no password was given. Nobody can read it again later."""

    name: str
    link: Secret | None


@dataclass(frozen=True, slots=True)
class LinkHolder:
    """Whom a one-time link lets in; `name` None: it makes the first supervisor."""

    name: str | None
    role: Role


def actor_of(name: str) -> str:
    """As the audit log writes a person."""
    return f"{PERSON}{name}"


def digest_of(token: Secret) -> str:
    """What is stored of a session's cookie or a link's token: both are random, 256 bits."""
    return hashlib.sha256(token.reveal_bytes()).hexdigest()


def name_digest(name: str) -> str:
    return hashlib.sha256(name.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()


def add_user(tx: Transaction, name: str, role: Role, agent: str | None, digest: str | None, actor: str) -> NewUser:
    """A new user with the hash of a password (see `passwords`), or with a one-time link. Raises NotFound, Refused."""
    name = checked_name(name)
    if (role is Role.AGENT) != bool(agent):
        raise Refused("bad_agent", "角色为代理商的用户需要代理商代码, 其他角色不能有")
    if agent and not accounts.known_agents(tx, [agent]):
        raise NotFound(f"没有代理商 {agent}: 用 `daifu agents list` 查看")
    return _add(tx, name, role, agent or None, digest, actor)


def _add(
    tx: Transaction, name: str, role: Role, agent: str | None, digest: str | None, actor: str, *, sub: bool = False
) -> NewUser:
    if not users.add(tx, name, role.value, agent, digest, sub=sub):
        raise Refused("user_exists", f"用户 {name} 已存在")
    sessions.void_first_links(tx)
    link = _link(tx, _find(tx, name)) if digest is None else None
    after = {"role": role, "agent": agent} | ({"sub": True} if sub else {})
    history.audit(tx, person(actor), "users.add", name, after=after)
    return NewUser(name, link)


def checked_name(name: str) -> str:
    """As it is stored. Raises Refused."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise Refused("bad_name", "用户名: 1 至 64 位字母、数字或 _ . @ -, 以字母或数字开头")
    return name


def add_sub_account(tx: Transaction, main_id: int, name: str, actor: str) -> NewUser:
    """An agent's main account adds one of its own people, who may see what it sees and add nobody. Raises Refused."""
    name, main = checked_name(name), users.by_id(tx, main_id)
    if main is None or main.agent is None or main.sub:
        raise Refused("not_main", "只有代理商的主账号可以添加子账号")
    return _add(tx, name, Role.AGENT, main.agent, None, actor, sub=True)


def is_own_sub_account(tx: Transaction, main_id: int, name: str) -> bool:
    """Whether this main account may act on the account of that name."""
    main, row = users.by_id(tx, main_id), users.by_name(tx, name.strip().lower())
    if main is None or main.agent is None or main.sub or row is None:
        return False
    return bool(row.sub and row.agent == main.agent)


def disable_user(tx: Transaction, name: str, reason: str, actor: str) -> None:
    """Nobody signs in as this user, and whoever is signed in is out at once. Raises NotFound, Refused."""
    reason, row = words_of(reason, "reason"), _find(tx, name)
    if person(actor) == actor_of(row.name):
        raise Refused("yourself", "不能停用自己的账户")
    if row.role == Role.SUPERVISOR and row.disabled_at is None and row.password_hash and users.supervisors(tx) <= 1:
        raise Refused("last_supervisor", "这是最后一个主管账户, 不能停用")
    if not users.disable(tx, row.id):
        raise Refused("disabled", f"用户 {row.name} 已停用")
    ended = sessions.close_of(tx, row.id)
    sessions.void_links(tx, row.id)
    history.audit(tx, actor, "users.disable", row.name, reason=reason, sessions_ended=ended)


def enable_user(tx: Transaction, name: str, reason: str, actor: str) -> None:
    """May sign in again, with what was known before. Raises NotFound, Refused."""
    reason, row = words_of(reason, "reason"), _find(tx, name)
    if not users.enable(tx, row.id):
        raise Refused("not_disabled", f"用户 {row.name} 没有停用")
    history.audit(tx, person(actor), "users.enable", row.name, reason=reason)


def reset_password(tx: Transaction, name: str, reason: str, actor: str) -> Secret:
    """The old password no longer counts; the token of a one-time link to set a new one. Raises NotFound, Refused."""
    reason, row = words_of(reason, "reason"), _find(tx, name)
    if row.disabled_at is not None:
        raise Refused("disabled", f"用户 {row.name} 已停用")
    if person(actor) == actor_of(row.name):
        raise Refused("yourself", "自己的密码请在“当前账号”修改")
    users.set_password(tx, row.id, None)
    sessions.close_of(tx, row.id)
    sign_in_tries.forget(tx, name_digest(row.name))
    history.audit(tx, actor, "users.reset_password", row.name, reason=reason)
    return _link(tx, row)


def reset_totp(tx: Transaction, name: str, reason: str, actor: str) -> None:
    """The device is lost: the next sign-in enrols a new one. Only somebody else can do it. Raises NotFound, Refused."""
    reason, row = words_of(reason, "reason"), _find(tx, name)
    if person(actor) == actor_of(row.name):
        raise Refused("yourself", "动态口令只能由另一位主管重置")
    if row.totp_sealed is None:
        raise Refused("no_totp", f"用户 {row.name} 没有绑定动态口令")
    users.set_totp(tx, row.id, None, None)
    sessions.close_of(tx, row.id)
    sign_in_tries.forget(tx, name_digest(row.name))
    history.audit(tx, actor, "users.reset_totp", row.name, reason=reason)


def set_password(tx: Transaction, name: str, digest: str, *, but_session: str | None) -> int:
    """The user's own act; all other sessions of the user end. Returns how many. Raises NotFound."""
    row = _find(tx, name)
    users.set_password(tx, row.id, digest)
    ended = sessions.close_of(tx, row.id, but=but_session)
    sessions.void_links(tx, row.id)
    history.audit(tx, actor_of(row.name), "users.set_password", row.name, sessions_ended=ended)
    return ended


def end_sessions(tx: Transaction, name: str, reason: str, actor: str) -> None:
    """Whoever is signed in as this user is out at once, everywhere, and may sign in again. Raises NotFound, Refused."""
    reason, row = words_of(reason, "reason"), _find(tx, name)
    if person(actor) == actor_of(row.name):
        raise Refused("yourself", "自己在其他地方的登录请在“当前账号”退出")
    history.audit(tx, actor, "users.sign_out", row.name, reason=reason, sessions_ended=sessions.close_of(tx, row.id))


def end_other_sessions(tx: Transaction, name: str, but_session: str) -> None:
    """The user's own act: out everywhere but here. Raises NotFound."""
    row = _find(tx, name)
    ended = sessions.close_of(tx, row.id, but=but_session)
    history.audit(tx, actor_of(row.name), "users.sign_out", row.name, sessions_ended=ended)


def first_link(tx: Transaction) -> Secret | None:
    """A link that makes the first supervisor; None where there is a user. Whoever starts the console prints it."""
    if users.is_any(tx):
        return None
    token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
    sessions.make_link(tx, digest_of(token), None, FIRST_LINK_S)
    return token


def holder_of(tx: Transaction, token: Secret) -> LinkHolder:
    """Whom a link lets in; looking does not use it up. Raises NotFound."""
    row = sessions.find_link(tx, digest_of(token))
    if row is None:
        raise NotFound("链接无效、已用过或已过期: 请主管重新生成")
    return LinkHolder(row.name, Role.SUPERVISOR if row.name is None else Role(row.role))


def use_link(tx: Transaction, token: Secret, first_name: str, digest: str) -> str:
    """Set the password by a one-time link. `first_name` names the first supervisor, and is not looked at otherwise.

    Returns the user's name. Raises NotFound, Refused.
    """
    holder = holder_of(tx, token)
    if not sessions.use_link(tx, digest_of(token)):
        raise NotFound("链接已用过")
    if holder.name is not None:
        set_password(tx, holder.name, digest, but_session=None)
        return holder.name
    if users.is_any(tx):
        raise Refused("not_first", "已经有用户: 请主管为您添加账户")
    return add_user(tx, first_name, Role.SUPERVISOR, None, digest, actor_of(first_name.strip().lower() or "?")).name


def _link(tx: Transaction, row: Row[Any]) -> Secret:
    token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
    sessions.make_link(tx, digest_of(token), row.id, LINK_S)
    return token


def _find(tx: Transaction, name: str) -> Row[Any]:
    row = users.by_name(tx, name.strip().lower())
    if row is None:
        raise NotFound(f"没有用户 {name.strip().lower()}: 用 `daifu users list` 查看")
    return row
