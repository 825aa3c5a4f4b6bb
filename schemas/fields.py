"""The kinds of value that messages are made of, each with its shape and its limit.

Amounts are strict: a real JSON integer of fen, never a float, a string or a bool. Codes are lenient: AM's clients send the same
code as number or as string (wire-protocols E), so a number becomes its text. Texts hold no control characters, because a NUL
can't be stored in PostgreSQL and would fail the whole batch it arrives in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

MAX_FEN = 10_000_000_000  # 1亿元: far above any ticket, far below a 64-bit column
FIRST_YEAR, LAST_YEAR = 2000, 2200  # outside of it an offset can't always be turned into UTC


class Message(BaseModel):
    """Base of everything on a wire: frozen, strict about types, deaf to fields it does not know, silent about values."""

    model_config = ConfigDict(
        defer_build=True,  # built when first used: a stage loads many messages and reads one kind
        frozen=True,
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def _code_text(value: object) -> object:
    return str(value) if type(value) is int and 0 <= value < 10_000 else value


def _utc(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year < LAST_YEAR:
        raise PydanticCustomError("year", "the year must lie between 2000 and 2199")
    return value if value.tzinfo is UTC else value.astimezone(UTC)


_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Fen = Annotated[int, Field(ge=0, le=MAX_FEN)]
PositiveFen = Annotated[int, Field(gt=0, le=MAX_FEN)]
Time = Annotated[AwareDatetime, AfterValidator(_utc)]
"""RFC 3339 with an offset; UTC once read."""

OrderNo = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")]
AgentCode = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")]
HoldNo = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[0-9A-Za-z]{1,32}$", max_length=32)
]
"""12306's number of a held order, 1-32 of A-Z 0-9; stripped and upper-cased when read (DESIGN section 2)."""

Sealed = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}\.[0-9A-Za-z_-]{64,8192}$")]
"""`<key_id>.<base64url without padding>` of a libsodium sealed box; 64 characters are the box around nothing."""

Account = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=_PLAIN)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=_PLAIN)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=256, pattern=_PLAIN)]
Comment = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000, pattern=_LINES)]
Code = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=_PLAIN),
    BeforeValidator(_code_text, json_schema_input_type=str | int),
]
"""A code of a table (`codes.py`) or, where AM has no code, the name itself."""
