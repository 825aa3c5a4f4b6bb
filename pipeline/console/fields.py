"""What forms, queries and bodies are made of: texts that a database can hold, times as people write them, secrets that never show."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, InstanceOf, StringConstraints, WithJsonSchema

from pipeline.matching import SHANGHAI
from pipeline.secret import Secret

LONGEST_SECRET = 1024
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2199, 12, 31)


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


def _day(text: object) -> object:
    """`2014-11-17`, as a browser's date field sends it; empty is none."""
    if text == "":
        return None
    if not isinstance(text, str):
        return text
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("日期写作 2014-11-17") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"日期在 {FIRST_DAY} 与 {LAST_DAY} 之间")
    return day


def _secret(text: object) -> object:
    if not isinstance(text, str) or len(text) > LONGEST_SECRET:
        raise ValueError(f"需要不超过 {LONGEST_SECRET} 个字符的文字")
    return Secret(text)


def _none_if_empty(text: object) -> object:
    return None if text == "" else text


Text = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True), AfterValidator(no_nul)]
LongText = Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True), AfterValidator(no_nul)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True), AfterValidator(no_nul)]
MaybeText = Annotated[Text | None, BeforeValidator(_none_if_empty)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Day = Annotated[date | None, BeforeValidator(_day)]
SecretText = Annotated[
    InstanceOf[Secret], BeforeValidator(_secret), WithJsonSchema({"type": "string", "format": "password"})
]
