"""Spans of time as people say them."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


def span(seconds: float | None) -> str:
    """45 秒, 12 分钟, 3 小时 5 分, 2 天 4 小时."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} 秒"
    if whole < HOUR:
        return f"{whole // MINUTE} 分钟"
    first, rest, name, small, unit = (
        (whole // HOUR, whole % HOUR, "小时", MINUTE, "分")
        if whole < DAY
        else (whole // DAY, whole % DAY, "天", HOUR, "小时")
    )
    return f"{first} {name} {rest // small} {unit}" if rest // small else f"{first} {name}"


def ago(moment: str | None, now: datetime) -> str:
    """From `moment` (RFC 3339) until `now`."""
    return "" if moment is None else span((now - datetime.fromisoformat(moment)).total_seconds())
