"""The kinds of value on the agents' forms, as leniently as their programs need it (wire-protocols D).

Everything on a form is text. Texts that only people read are cleaned and cut, never refused: a client refunds its tickets
when its CONFIRM is refused (wire-protocols C.3).
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from schemas.fields import MAX_FEN, Fen

MAX_COMMENT = 1000
MAX_NAME = 128
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
# control characters, and halves of surrogate pairs that JSON's \u escapes can smuggle in: neither can be stored
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
_HALF_A_FEN_OF_NOISE = Decimal("0.05")  # in fen: 95.550000000000004 is what a sum of doubles may print


def fen_of(value: object) -> int:
    """Fen for yuan as the clients write it: 651, 95.5, `"95.50"`, `"631.0"`. Raises PydanticCustomError."""
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise PydanticCustomError("yuan", "must be an amount in yuan")
    fen = Decimal(text) * 100
    whole = fen.to_integral_value()
    if abs(fen - whole) > _HALF_A_FEN_OF_NOISE:
        raise PydanticCustomError("yuan", "must have at most two decimals")
    if whole > MAX_FEN:
        raise PydanticCustomError("yuan", "is too large")
    return int(whole)


def json_of(value: object) -> object:
    """The value of a JSON parameter; numbers with a fraction keep their digits. Raises PydanticCustomError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        raise PydanticCustomError("json", "must be JSON") from None


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def without_empty(value: object) -> object:
    """An object's fields that hold something: `null` and "" stand for a field that is missing."""
    if not isinstance(value, dict):
        return value
    return {name: content for name, content in value.items() if content is not None and content != ""}


def _cleaned(limit: int) -> BeforeValidator:
    def clean(value: object) -> object:
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            value = str(value)
        return _CONTROL.sub(" ", value).strip()[:limit] if isinstance(value, str) else value

    return BeforeValidator(clean, json_schema_input_type=str)


Yuan = Annotated[Fen, BeforeValidator(fen_of, json_schema_input_type=str | float)]
LooseComment = Annotated[str, _cleaned(MAX_COMMENT)]
LooseName = Annotated[str, _cleaned(MAX_NAME)]


def described(words: str, alias: str, **rest: Any) -> Any:
    """A form's field: the parameter's name on the wire and what it is, in Chinese (the agents' document shows it)."""
    return Field(alias=alias, description=words, **rest)
