"""The callback as it goes over the wire: the form that agents' programs read, and Standard Webhooks headers beside it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from pipeline.secret import Secret

CALL_TIMEOUT_S: Final = 15.0  # Standard Webhooks: 15 to 30 s
CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"
# What `daifu callbacks test` tells: about an order number that no AM order has, a payStatus that means nothing to anybody.
TEST_ORDER_NO: Final = "daifu-callback-test"
TEST_PAY_STATUS: Final = "0"


def signed_body(order_no: str, agent: str, pay_status: str, merchant_key: Secret) -> str:
    """The form that the clients read: upper-case MD5 over key + merchantCode + orderNo + payStatus (wire-protocols A.2)."""
    digest = _digest(order_no, agent, pay_status, merchant_key)
    return urlencode({"orderNo": order_no, "payStatus": pay_status, "HMAC": digest})


def body_at_turn(
    stored: str | None, calls: int, order_no: str, agent: str, pay_status: str, merchant_keys: Sequence[Secret]
) -> str:
    """What is sent at this try, after `calls` others: the stored bytes, as long as they are signed with a key that is good.

    For a day after its key was changed an agent's program knows the one or the other, and the form has room for one signature:
    the tries take turns. Bytes that are signed with a key that is good no more are signed anew, for nobody would take them.
    """
    key = merchant_keys[calls % len(merchant_keys)]
    if stored is not None and _digest(order_no, agent, pay_status, key) in stored:
        return stored
    return signed_body(order_no, agent, pay_status, key)


def _digest(order_no: str, agent: str, pay_status: str, merchant_key: Secret) -> str:
    text = f"{merchant_key.reveal()}{agent}{order_no}{pay_status}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def webhook_headers(webhook_id: str, timestamp: int, body: bytes, secrets: Sequence[Secret]) -> dict[str, str]:
    """Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` under the base64 part of each `whsec_…` that is good now."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_webhook_signature(signed, secret)}" for secret in secrets),
    }


def _webhook_signature(signed: bytes, secret: Secret) -> str:
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
