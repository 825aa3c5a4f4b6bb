"""The callback as it goes over the wire: the form that agents' programs read, and Standard Webhooks headers beside it."""

from __future__ import annotations

import base64
import hashlib
import hmac
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
    text = f"{merchant_key.reveal()}{agent}{order_no}{pay_status}".encode()
    digest = hashlib.md5(text, usedforsecurity=False).hexdigest().upper()
    return urlencode({"orderNo": order_no, "payStatus": pay_status, "HMAC": digest})


def webhook_headers(webhook_id: str, timestamp: int, body: bytes, secret: Secret) -> dict[str, str]:
    """Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` under the base64 part of `whsec_…`."""
    key = base64.b64decode(secret.reveal().removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
