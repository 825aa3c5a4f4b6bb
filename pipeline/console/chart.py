"""Outcomes per hour as stacked bars: places and sizes for an SVG that the template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.console.words import OUTCOMES
from pipeline.reasons import Outcome

WIDTH: Final = 720
HEIGHT: Final = 220
LEFT, BOTTOM, TOP = 44, 26, 10
LABEL_EVERY: Final = 3  # hours
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
    """One hour: `label` under it where there is one, `says` in words."""

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


def chart_of(hours: Sequence[dict[str, Any]]) -> Chart:
    """`hours`: one after the other, each with its counts by outcome."""
    most = max((sum(hour[outcome] for outcome in Outcome) for hour in hours), default=0)
    step = scale_step(most)
    top = max(step * -(-most // step), step)
    room = HEIGHT - BOTTOM - TOP
    pitch = (WIDTH - LEFT) / max(1, len(hours))
    bars = tuple(_bar(hour, LEFT + place * pitch + pitch * 0.15, room / top) for place, hour in enumerate(hours))
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


def _bar(hour: dict[str, Any], x: float, per_one: float) -> Bar:
    parts, y = [], float(HEIGHT - BOTTOM)
    for outcome in Outcome:
        count = int(hour[outcome])
        if count:
            y -= count * per_one
            parts.append(Part(outcome.value, count, y, count * per_one))
    clock = str(hour["hour"])[11:13]
    said = ", ".join(f"{OUTCOMES[part.outcome]} {part.count}" for part in parts) or "没有结果"
    label = f"{int(clock)}时" if int(clock) % LABEL_EVERY == 0 else ""
    return Bar(x, label, f"{clock}:00 起一小时: {said}", tuple(parts))
