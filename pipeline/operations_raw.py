"""Undecodable input kept in a dead letter: opened, and accepted again as it was."""

from __future__ import annotations

from typing import Any

from pipeline import acceptance
from pipeline.acceptance import Conflict, Limits
from pipeline.operations_errors import Refused
from pipeline.store.engine import Row, Transaction
from pipeline.vault import KeyRing, VaultError
from schemas.am_messages import AmMessage, parse
from schemas.problems import InvalidMessage


def opened(letter: Row[Any], keys: KeyRing | None) -> AmMessage:
    """The message in a raw dead letter. Raises Refused where it can't be opened, or still can't be read."""
    if keys is None:
        raise Refused("key_missing", "没有服务密钥环, 无法打开原始消息 (DAIFU_SERVICE_KEYS_FILE)")
    try:
        body = keys.open(letter.body_sealed).reveal_bytes()
    except VaultError as error:
        raise Refused("key_missing", f"无法打开原始消息: {error}") from None
    try:
        return parse(body)
    except InvalidMessage as error:
        raise Refused("poison", f"消息仍无法识别: {error}") from None


def accept_again(tx: Transaction, letter: Row[Any], limits: Limits, keys: KeyRing | None) -> str:
    """Accept the stored message; how it was answered. Raises Refused where it contradicts what is stored."""
    message = opened(letter, keys)
    try:
        answer = acceptance.accept(tx, message, limits, origin="queue")
    except Conflict as conflict:
        raise Refused("poison", str(conflict)) from None
    return answer.result if answer.err_code is None else f"{answer.result} {answer.err_code}: {answer.words}"
