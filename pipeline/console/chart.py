"""Outcomes per hour or per day as stacked bars: places and sizes for an SVG that the template draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from pipeline.console.words import STANDINGS
from pipeline.reasons import Outcome

WIDTH: Final = 720
HEIGHT: Final = 220
LEFT, BOTTOM, TOP = 44, 26, 10
LABEL_EVERY: Final = 3  # hours
MOST_LABELS: Final = 10  # of days
NOTHING: Final = "没有结果"
STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Part:
    """One bar's part: what it stands for, and where it is."""

    outcome: str
    count: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour or day: `label` under it where there is one, `says` in words."""

    x: float
    label: str
    says: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """`lines`: (y, value) of the scale."""

    bars: tuple[Bar, ...]
    bar_width: float
    lines: tuple[tuple[float, int], ...]
    total: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


class Span(NamedTuple):
    """What one bar stands for."""

    label: str
    called: str
    counts: Mapping[str, int]


def hours_chart(hours: Sequence[Mapping[str, Any]]) -> Chart:
    """`hours`: one after the other, each with its counts by outcome."""
    return _chart([_hour(hour) for hour in hours])


def days_chart(first: date, last: date, days: Iterable[Mapping[str, Any]]) -> Chart:
    """`days`: those that have orders, with their counts by outcome and of what is `open`; the others are drawn as nothing."""
    known = {str(day["day"]): day for day in days}
    every = max(1, -(-((last - first).days + 1) // MOST_LABELS))
    spans = []
    for place in range((last - first).days + 1):
        day = first + timedelta(days=place)
        row = known.get(day.isoformat(), {})
        counts = {name: int(row.get(name, 0)) for name in (*Outcome, "open")}
        spans.append(Span(f"{day:%m-%d}" if place % every == 0 else "", day.isoformat(), counts))
    return _chart(spans)


def _chart(spans: Sequence[Span]) -> Chart:
    most = max((sum(span.counts.values()) for span in spans), default=0)
    step = scale_step(most)
    top = max(step * -(-most // step), step)
    room = HEIGHT - BOTTOM - TOP
    pitch = (WIDTH - LEFT) / max(1, len(spans))
    bars = tuple(_bar(span, LEFT + place * pitch + pitch * 0.15, room / top) for place, span in enumerate(spans))
    lines = tuple((HEIGHT - BOTTOM - value * room / top, value) for value in range(0, top + 1, step))
    return Chart(bars, pitch * 0.7, lines, sum(part.count for bar in bars for part in bar.parts))


def scale_step(most: int) -> int:
    """1, 2, 5, 10, 20, … so that at most five lines are drawn above the floor."""
    unit = 1
    while True:
        for step in STEPS:
            if most <= 5 * step * unit:
                return step * unit
        unit *= 10


def _hour(hour: Mapping[str, Any]) -> Span:
    clock = str(hour["hour"])[11:13]
    label = f"{int(clock)}时" if int(clock) % LABEL_EVERY == 0 else ""
    return Span(label, f"{clock}:00 起一小时", {name: int(hour[name]) for name in Outcome})


def _bar(span: Span, x: float, per_one: float) -> Bar:
    parts, y = [], float(HEIGHT - BOTTOM)
    for name, count in span.counts.items():
        if count:
            y -= count * per_one
            parts.append(Part(str(name), count, y, count * per_one))
    said = ", ".join(f"{STANDINGS[part.outcome]} {part.count}" for part in parts) or NOTHING
    return Bar(x, span.label, f"{span.called}: {said}", tuple(parts))
