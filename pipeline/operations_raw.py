"""Undecodable input kept in a dead letter: opened, and accepted again as it was, or as a person mended it."""

from __future__ import annotations

from typing import Any

from pipeline import acceptance, operations_raw_edit
from pipeline.acceptance import Conflict, Limits
from pipeline.operations_errors import Refused
from pipeline.operations_raw_edit import Edit
from pipeline.store.engine import Row, Transaction
from pipeline.vault import KeyRing, VaultError
from schemas.am_messages import AmMessage, parse
from schemas.problems import InvalidMessage


def body_of(letter: Row[Any], keys: KeyRing | None) -> bytes:
    """What arrived, as it was: for `masked` and `edited`, never for a screen. Raises Refused where it can't be opened."""
    if letter.body_sealed is None:
        raise Refused("not_raw", "只有无法识别的原始消息可以查看和修改")
    if keys is None:
        raise Refused("key_missing", "没有服务密钥环, 无法打开原始消息 (DAIFU_SERVICE_KEYS_FILE)")
    try:
        return keys.open(letter.body_sealed).reveal_bytes()
    except VaultError as error:
        raise Refused("key_missing", f"无法打开原始消息: {error}") from None


def masked(letter: Row[Any], keys: KeyRing | None) -> str:
    """What arrived, for a screen: secrets, ID numbers and phones masked. Raises Refused where it can't be opened."""
    return operations_raw_edit.masked_text(body_of(letter, keys))


def edited(letter: Row[Any], keys: KeyRing | None, text: str) -> Edit:
    """The message with what a person changed in `masked`. Raises Refused naming what may not be changed."""
    return operations_raw_edit.edited(body_of(letter, keys), text)


def readable(letter: Row[Any], keys: KeyRing | None, edit: Edit | None = None) -> AmMessage:
    """The message in a raw dead letter, or as it was mended. Raises Refused where it can't be opened, or (still) read."""
    body = body_of(letter, keys) if edit is None else edit.body
    try:
        return parse(body)
    except InvalidMessage as error:
        still = "消息仍无法识别" if edit is None else "修改后的消息仍无法识别"
        raise Refused("poison", f"{still}: {error}") from None


def accept_again(
    tx: Transaction, letter: Row[Any], limits: Limits, keys: KeyRing | None, edit: Edit | None = None
) -> str:
    """Accept the stored message; how it was answered. Raises Refused where it contradicts what is stored."""
    message = readable(letter, keys, edit)
    try:
        answer = acceptance.accept(tx, message, limits, origin="queue")
    except Conflict as conflict:
        raise Refused("poison", str(conflict)) from None
    return answer.result if answer.err_code is None else f"{answer.result} {answer.err_code}: {answer.words}"
