"""What forms, queries and bodies are made of: texts that a database can hold, times as people write them, secrets that never show."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, InstanceOf, StringConstraints, WithJsonSchema

from pipeline.matching import SHANGHAI
from pipeline.secret import Secret
from schemas.fields import MAX_FEN

LONGEST_SECRET = 1024


def no_nul(text: str) -> str:
    """Raises ValueError for a NUL: no database text holds one."""
    if "\0" in text:
        raise ValueError("不能含有空字符")
    return text


def _moment(text: object) -> object:
    """`2014-11-17T20:31` as a browser's datetime field sends it, Asia/Shanghai unless it says otherwise; empty is none."""
    if text == "":
        return None
    if not isinstance(text, str):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("时间写作 2014-11-17T20:31") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=SHANGHAI)).astimezone(UTC)


def _secret(text: object) -> object:
    if not isinstance(text, str) or len(text) > LONGEST_SECRET:
        raise ValueError(f"需要不超过 {LONGEST_SECRET} 个字符的文字")
    return Secret(text)


def fen_of(text: str | None) -> int | None:
    """Yuan as people write them: 1241, 1,241.00. Raises ValueError."""
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}(\.\d{1,2})?", text.replace(",", "")):
        raise ValueError("金额写作 1241.00")
    yuan, _, rest = text.replace(",", "").partition(".")
    fen = int(yuan) * 100 + int(rest.ljust(2, "0"))
    if fen > MAX_FEN:
        raise ValueError(f"金额不能超过 {MAX_FEN // 100} 元")
    return fen


def is_yuan(text: str | None) -> str | None:
    """The text itself. Raises ValueError where `fen_of` would."""
    fen_of(text)
    return text


def day_of(day: date | None) -> tuple[datetime | None, datetime | None]:
    """From midnight to midnight in Shanghai; of no day, no bounds."""
    if day is None:
        return None, None
    midnight = datetime.combine(day, time(), SHANGHAI)
    return midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)


def none_if_empty(text: object) -> object:
    """A field of a form that was left as it was."""
    return None if text == "" else text


Text = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True), AfterValidator(no_nul)]
LongText = Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True), AfterValidator(no_nul)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True), AfterValidator(no_nul)]
MaybeText = Annotated[Text | None, BeforeValidator(none_if_empty)]
Day = Annotated[date | None, BeforeValidator(none_if_empty)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
SecretText = Annotated[
    InstanceOf[Secret], BeforeValidator(_secret), WithJsonSchema({"type": "string", "format": "password"})
]
