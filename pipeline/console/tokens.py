"""What is derived from a cookie: the CSRF token of its forms, and the mark that a message on screen is ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Literal, NamedTuple

from pipeline.secret import Secret

Tone = Literal["done", "refused"]


class Flash(NamedTuple):
    """One message, shown on the next page only."""

    tone: Tone
    text: str


def csrf_token(cookie: Secret) -> str:
    """Bound to the session: another session's token, or that of before signing in, does not fit."""
    return _mac(cookie, b"daifu csrf 1")


def same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def write_flash(cookie: Secret, flash: Flash) -> str:
    content = base64.urlsafe_b64encode(json.dumps(flash, ensure_ascii=False).encode()).decode().rstrip("=")
    return f"{content}.{_mac(cookie, b'daifu flash 1' + content.encode())}"


def read_flash(cookie: Secret, text: str) -> Flash | None:
    """None where it was not written for this session."""
    content, _, mac = text.partition(".")
    if not content.isascii() or not same(mac, _mac(cookie, b"daifu flash 1" + content.encode())):
        return None
    tone, words = json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)))
    return Flash(tone, words)


def _mac(cookie: Secret, use: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(cookie.reveal_bytes(), use, hashlib.sha256)).decode().rstrip("=")
