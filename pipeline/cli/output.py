"""What commands print: with `--json` one JSON document on stdout and nothing else, otherwise tables for people."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON on stdout and nothing else.")


# Control characters but for tab and line feed, and those that change the direction of what follows: a text from outside must not
# move a terminal's cursor, set its title, or show something other than what it says.
_UNSEEN = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (
        *range(9),
        *range(11, 32),
        *range(127, 160),
        0x61C,
        0x200E,
        0x200F,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def emit(content: Any, *, json_: bool, human: Callable[[], str]) -> None:
    """Print `content` as JSON, or what `human` makes of it."""
    if json_:
        click.echo(json.dumps(content, ensure_ascii=False))
    else:
        click.echo(human().translate(_UNSEEN))


def note(text: str) -> None:
    """Something beside the result: on stderr."""
    click.echo(text.translate(_UNSEEN), err=True)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Columns of text, aligned also where characters are two cells wide."""
    if not rows:
        return "(none)"
    lines = [list(columns), *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(_width(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def fields(row: Mapping[str, Any]) -> str:
    """One field per line."""
    wide = max(_width(name) for name in row)
    return "\n".join(f"{_padded(name, wide)}  {_text(value)}" for name, value in row.items())


def yuan(fen: int | None) -> str:
    """Fen as people read them: 1241.00."""
    return "" if fen is None else f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
