"""12306's JSON answer (wire-protocols B): {status, httpstatus, data, messages, …}, and the values inside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from pipeline.errors import Garbled

SHANGHAI: Final = ZoneInfo("Asia/Shanghai")

SECOND: Final = "%Y-%m-%d %H:%M:%S"  # pay_limit_time
MINUTE: Final = "%Y-%m-%d %H:%M"  # start_train_date_page
COMPACT: Final = "%Y%m%d%H%M%S"  # orderTimeoutDate

_YUAN: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """`data` is None when 12306 left it out, which is how it says both "none" and "no" (B)."""

    status: bool
    data: Fields | None
    messages: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.messages).strip()


def read_json(body: bytes) -> Fields:
    """A JSON object. Raises Garbled."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        answer = None
    if not isinstance(answer, dict):
        raise Garbled("railway", f"{len(body)} bytes that are not a JSON object")
    return answer


def read_envelope(body: bytes) -> Envelope:
    """Raises Garbled for anything that has not the envelope's shape."""
    answer = read_json(body)
    status, data, messages = answer.get("status"), answer.get("data"), answer.get("messages", [])
    if not isinstance(status, bool) or not isinstance(data, dict | None) or not isinstance(messages, list):
        raise Garbled("railway", "JSON without 12306's envelope")
    return Envelope(status, data, tuple(str(message) for message in messages))


def text_of(fields: Fields, name: str) -> str:
    """A text that must be there. Raises Garbled."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise Garbled("railway", f"{name} is missing or no text")
    return value.strip()


def list_of(fields: Fields, name: str) -> list[Fields]:
    """A list of objects that must be there. Raises Garbled."""
    value = fields.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Garbled("railway", f"{name} is missing or no list of objects")
    return value


def object_of(fields: Fields, name: str) -> Fields:
    """An object that must be there. Raises Garbled."""
    value = fields.get(name)
    if not isinstance(value, dict):
        raise Garbled("railway", f"{name} is missing or no object")
    return value


def whole_number(fields: Fields, name: str) -> int:
    """A count or an amount in fen: a number without fraction, or its digits as text. Raises Garbled."""
    value = fields.get(name)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():  # Java writes 9550.0
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise Garbled("railway", f"{name} is missing or no whole number")


def fen_of_yuan(text: str) -> int:
    """`1241.00` or `95.5` yuan in fen. Raises ValueError; never rounds."""
    if not _YUAN.fullmatch(text):
        raise ValueError("not an amount in yuan")
    return int(Decimal(text) * 100)


def moment(text: str, form: str) -> datetime:
    """A time of 12306's wall clock (Asia/Shanghai) in UTC. Raises ValueError."""
    local = datetime.strptime(text, form).replace(tzinfo=SHANGHAI)
    try:
        return local.astimezone(UTC)
    except OverflowError:  # the first hours of year 1 have no UTC
        raise ValueError("a time outside of the calendar") from None
