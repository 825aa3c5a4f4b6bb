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
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2999, 12, 31)


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
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=SHANGHAI)).astimezone(UTC)
    except (ValueError, OverflowError):  # the second: a time zone before the first day, or after the last one
        raise ValueError("时间写作 2014-11-17T20:31") from None


def _day(text: object) -> object:
    """`2014-11-17` as a browser's date field sends it; empty is none. The ends of the calendar leave room for a day more."""
    if text == "" or not isinstance(text, str):
        return None if text == "" else text
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("日期写作 2014-11-17") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"日期应在 {FIRST_DAY} 至 {LAST_DAY} 之间")
    return day


def begins(day: date) -> datetime:
    """The first moment of a day in Shanghai."""
    return datetime.combine(day, time.min, SHANGHAI)


def ends(day: date) -> datetime:
    """The first moment after a day in Shanghai."""
    return begins(day + timedelta(days=1))


def days_of(since: date | None, until: date | None, now: datetime, days: int) -> tuple[date, date]:
    """The first and the last day of a report: as given; else up to today, and so many `days`."""
    today = now.astimezone(SHANGHAI).date()
    last = until or max(today, since or today)
    return since or last - timedelta(days=days - 1), last


def fen_of(text: str) -> int:
    """Yuan as people write them: 1241, 1,241.00. Raises ValueError."""
    plain = text.replace(",", "")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,2})?", plain):
        raise ValueError("金额写作 1241.00")
    yuan, _, rest = plain.partition(".")
    fen = int(yuan) * 100 + int(rest.ljust(2, "0"))
    if fen > MAX_FEN:
        raise ValueError(f"金额不能超过 {MAX_FEN // 100} 元")
    return fen


def _is_yuan(text: str) -> str:
    fen_of(text)
    return text


def _secret(text: object) -> object:
    if not isinstance(text, str) or len(text) > LONGEST_SECRET:
        raise ValueError(f"需要不超过 {LONGEST_SECRET} 个字符的文字")
    return Secret(text)


def day_of(day: date | None) -> tuple[datetime | None, datetime | None]:
    """From midnight to midnight in Shanghai; of no day, no bounds."""
    return (None, None) if day is None else (begins(day), ends(day))


def none_if_empty(text: object) -> object:
    """A field of a form that was left as it was."""
    return None if text == "" else text


Text = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True), AfterValidator(no_nul)]
LongText = Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True), AfterValidator(no_nul)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True), AfterValidator(no_nul)]
MaybeText = Annotated[Text | None, BeforeValidator(none_if_empty)]
Yuan = Annotated[Text, AfterValidator(_is_yuan)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
Day = Annotated[date | None, BeforeValidator(_day)]
SecretText = Annotated[
    InstanceOf[Secret], BeforeValidator(_secret), WithJsonSchema({"type": "string", "format": "password"})
]
