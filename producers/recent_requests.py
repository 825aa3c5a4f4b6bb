"""Requests that were read lately, by their bytes: clients repeat the same bytes by the thousand, and reading, checking and
sealing them anew would cost more than answering them. Only that is saved; each is answered from the database all the same."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import NamedTuple

from pipeline.agent_asks import AgentAsk
from pipeline.secret import Secret

MAX_KEPT = 2_048
MAX_BYTES = 16_000  # longer ones are rare and read anew, so that what is kept stays small


class Known(NamedTuple):
    """What the bytes asked for, and the merchant key that they were signed with."""

    ask: AgentAsk
    key: Secret


class RecentRequests:
    """Keeps requests by a digest under a key of this process: the bytes hold a password and are kept nowhere."""

    def __init__(self) -> None:
        self._digest_key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, Known] = OrderedDict()

    def mark(self, endpoint: str, raw: bytes) -> bytes | None:
        """What these bytes are found by; None where they are not kept."""
        if len(raw) > MAX_BYTES:
            return None
        return hashlib.blake2b(endpoint.encode() + b"\0" + raw, digest_size=32, key=self._digest_key).digest()

    def find(self, mark: bytes | None) -> Known | None:
        return None if mark is None else self._kept.get(mark)

    def keep(self, mark: bytes | None, ask: AgentAsk, key: Secret) -> None:
        """Only what was signed with `key` and read whole; the oldest gives way."""
        if mark is None:
            return
        self._kept[mark] = Known(ask, key)
        self._kept.move_to_end(mark)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
