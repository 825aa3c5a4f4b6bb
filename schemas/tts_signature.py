"""The agents' signature: upper-case hex MD5 over key + fields in a fixed order, no separator, UTF-8 (wire-protocols A.2, D.3).

Signed are the decoded raw texts exactly as sent; a missing parameter is an empty text in its place. The string that is
hashed holds the merchant key, and a password may be in it: it is never stored, logged or put into an error.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

SIGNATURE = "HMAC"
QUERY_ORDERS = ("merchantCode", "type")
PROCESS_PURCHASE = (
    "merchantCode",
    "orderNo",
    "opt",
    "result",
    "un",
    "reason",
    "passengerReason",
    "comment",
)
PROCESS_GO_PAY = ("merchantCode", "orderNo", "price", "un", "comment")
PAY_RESULT = ("merchantCode", "orderNo", "payStatus")  # the callback


def need_pay_fields(password_parameter: str | None) -> tuple[str, ...]:
    """The order for opt NEED_PAY: the password right after `un`, or not signed where the parameter is None."""
    if password_parameter is None:
        return PROCESS_PURCHASE
    place = PROCESS_PURCHASE.index("un") + 1
    return (*PROCESS_PURCHASE[:place], password_parameter, *PROCESS_PURCHASE[place:])


def signature(key: str, values: Iterable[str]) -> str:
    """The HMAC parameter for these texts, in their order."""
    text = "".join((key, *values)).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def is_signed(given: str, key: str, values: Iterable[str]) -> bool:
    """Whether `given` is that signature, in either case; takes the same time wherever they differ."""
    return hmac.compare_digest(given.strip().upper().encode(), signature(key, values).encode())
