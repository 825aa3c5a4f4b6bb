"""Agents, their keys, addresses and passwords, and their procurement fund."""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from argon2 import PasswordHasher

from pipeline.ledger import top_up
from pipeline.operations_errors import NotFound, Refused, person, words_of
from pipeline.secret import Secret
from pipeline.store import accounts, agent_keys, agents, history, ledger
from pipeline.store.agent_keys import KeyKind
from pipeline.store.engine import Row, Transaction
from pipeline.vault import Sealer
from schemas.fields import MAX_FEN

WEBHOOK_SECRET_BYTES = 24  # Standard Webhooks: 24 to 64
MERCHANT_KEY_BYTES = 24
_CODE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class NewAgent:
    """What the agent must be given, once: nobody can read it again later."""

    code: str
    key: Secret
    webhook_secret: Secret


def add_agent(
    tx: Transaction,
    code: str,
    callback_url: str,
    key: Secret | None,
    service_key: Sealer,
    actor: str,
    *,
    allow_http: bool,
) -> NewAgent:
    """A new agent; its merchant key is generated unless given. Raises Refused."""
    if not _CODE.fullmatch(code):
        raise Refused("bad_code", "代理商代码: 1 至 64 位字母、数字或 _ . -, 以字母或数字开头")
    check_callback(callback_url, allow_http=allow_http)
    merchant_key, webhook_secret = key or new_merchant_key(), new_webhook_secret()
    if not agents.add(tx, code, callback_url, service_key.seal(merchant_key), service_key.seal(webhook_secret)):
        raise Refused("agent_exists", f"代理商 {code} 已存在")
    history.audit(tx, person(actor), "agents.add", code)
    return NewAgent(code, merchant_key, webhook_secret)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What the agent must be given, once; the key before it is good until `old_ends_at`."""

    key: Secret
    old_ends_at: datetime


def change_key(
    tx: Transaction, code: str, kind: KeyKind, key: Secret | None, service_key: Sealer, actor: str, *, at_once: bool
) -> NewKey:
    """Another merchant key or webhook secret (a generated one unless given); the one before stays good for a day.

    `at_once`: it leaked, so it and all before it are good no more. Raises NotFound, Refused.
    """
    agent = load_agent(tx, code)
    new = key or (new_merchant_key() if kind is KeyKind.MERCHANT else new_webhook_secret())
    if kind is KeyKind.WEBHOOK and not _is_webhook_secret(new):
        raise Refused("bad_key", "webhook 密钥形如 whsec_ 加 24 至 64 字节的 base64")
    known = agent.merchant_key_sealed if kind is KeyKind.MERCHANT else agent.webhook_secret_sealed
    overlap = timedelta(0) if at_once else agent_keys.OVERLAP
    ends_at = agent_keys.replace(tx, code, kind, known, service_key.seal(new), overlap)
    if ends_at is None:
        raise Refused("changed_meanwhile", "密钥刚刚被改过, 请再试一次")
    history.audit(tx, person(actor), "agents.change_key", code, kind=kind.value, old_ends_at=ends_at.isoformat())
    return NewKey(new, ends_at)


def new_merchant_key() -> Secret:
    return Secret(secrets.token_urlsafe(MERCHANT_KEY_BYTES))


def new_webhook_secret() -> Secret:
    return Secret(f"whsec_{base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()}")


def _is_webhook_secret(secret: Secret) -> bool:
    """Standard Webhooks: `whsec_` and 24 to 64 bytes in base64."""
    prefix, mark, armoured = secret.reveal().partition("whsec_")
    try:
        return bool(mark) and not prefix and 24 <= len(base64.b64decode(armoured, validate=True)) <= 64
    except ValueError:
        return False


def check_callback(url: str, *, allow_http: bool) -> None:
    """What can be said about an address without a look at the network. Raises Refused."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_http):
        raise Refused("bad_callback", "回调地址必须是 https (开发环境可设 DAIFU_CALLBACK_ALLOW_HTTP=true)")
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise Refused("bad_callback", "回调地址需要主机名, 且不能带用户名或密码")


def set_callback(tx: Transaction, code: str, url: str, actor: str, *, allow_http: bool) -> None:
    """Where the agent is told from now on; what is pending goes there too. Raises NotFound, Refused."""
    check_callback(url, allow_http=allow_http)
    if not agents.set_callback(tx, code, url):
        raise no_agent(code)
    history.audit(tx, person(actor), "agents.set_callback", code)


def set_password(
    tx: Transaction, code: str, password: Secret, vault_key: Sealer, actor: str, *, login: str | None = None
) -> None:
    """The agent's unified 12306 password, or that of one account. Raises NotFound, Refused.

    Only the payment worker can open it again; the unified one leaves an argon2id hash to check 原密码 by.
    """
    check_password(password)
    load_agent(tx, code)
    if login is None:
        agents.set_password(tx, code, vault_key.seal(password), PasswordHasher().hash(password.reveal_bytes()))
        history.audit(tx, person(actor), agents.SET_PASSWORD, code)
        return
    agents.set_account_password(tx, code, words_of(login, "account"), vault_key.seal(password))
    history.audit(tx, person(actor), "agents.set_account_password", code, account=login)


def top_up_fund(
    tx: Transaction, code: str, amount_fen: int, reason: str, actor: str, *, once: str | None = None
) -> None:
    """Money came from the bank into the procurement fund. `once` names the act, so that a form that is sent twice books once.

    Raises NotFound, Refused.
    """
    if not 0 < amount_fen <= MAX_FEN:
        raise Refused("bad_amount", f"金额以分计, 1 至 {MAX_FEN}")
    reason = words_of(reason, "reason")
    load_agent(tx, code)
    key = f"{code}:{once or uuid.uuid4().hex}"
    if not ledger.apply(tx, [top_up(code, key, amount_fen, reason)]):
        raise Refused("repeated", "这笔充值已经入账, 没有再记一次")
    history.audit(tx, person(actor), "funds.top_up", code, amount_fen=amount_fen, reason=reason, key=key)


def use_unified(tx: Transaction, code: str, login: str, reason: str, actor: str) -> None:
    """The account's own password is forgotten: from now on the unified one is used. Raises NotFound, Refused."""
    reason = words_of(reason, "理由")
    if load_agent(tx, code).password_sealed is None:
        raise Refused("no_unified_password", "还没有设置统一密码, 请先设置")
    if not agents.forget_account_password(tx, code, login):
        raise NotFound(f"12306账号 {login} 没有单独设置密码")
    history.audit(tx, person(actor), agents.USE_UNIFIED, agents.account_subject(code, login), reason=reason)


def check_password(password: Secret) -> None:
    """That it is a text at all. Raises Refused."""
    if not password:
        raise Refused("password_missing", "密码不能为空")
    try:
        password.reveal().encode()
    except ValueError:  # bytes that are no UTF-8, half a surrogate pair: no form field can carry it
        raise Refused("bad_password", "密码里有无法发送的字符") from None


def load_agent(tx: Transaction, code: str) -> Row[Any]:
    """Raises NotFound."""
    found = accounts.load_agents(tx, [code]).get(code)
    if found is None:
        raise no_agent(code)
    return found


def no_agent(code: str) -> NotFound:
    return NotFound(f"没有代理商 {code}: 用 `daifu agents list` 查看, `daifu agents add` 添加")
