"""Templates: autoescaped, undefined names are defects, and the filters that every page uses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.console import words, words_money
from pipeline.console.navigation import Entry
from pipeline.console.plain import plain
from pipeline.console.spans import ago, span
from pipeline.matching import SHANGHAI
from pipeline.operations_errors import PERSON
from pipeline.operations_users import Role

STATIC = Path(__file__).parent / "static"


def yuan(fen: int | None) -> str:
    """Fen as people read them: 1,241.00."""
    if fen is None:
        return ""
    return f"{'-' if fen < 0 else ''}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def time(moment: datetime | str | None, *, seconds: bool = True) -> Markup:
    """Asia/Shanghai, `2014-11-17 20:31:00`; takes what queries give (RFC 3339) and datetimes."""
    if moment is None:
        return Markup("")
    known = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    local = known.astimezone(SHANGHAI)
    shape = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(), local.strftime(shape))


def word(code: str | None, among: Mapping[str, str]) -> str:
    return "" if code is None else among.get(code, code)


def facts(detail: Mapping[str, Any], but: Iterable[str] = ()) -> list[tuple[str, str]]:
    """A story's or an act's detail as (label, text), without what is empty: amounts in yuan, codes in words."""
    found = []
    for name, value in detail.items():
        if name in but or value is None or value in ("", [], {}):
            continue
        if name.endswith("_fen") and isinstance(value, int):
            found.append((word(name.removesuffix("_fen"), words.FACTS), yuan(value)))
        elif isinstance(value, Mapping):
            inner = ", ".join(f"{label} {text}" for label, text in facts(value))
            found.append((word(name, words.FACTS), inner))
        else:
            found.append((word(name, words.FACTS), _in_words(name, value)))
    return found


def _in_words(name: str, value: Any) -> str:
    among = {"reason": words.REASONS, "role": words.ROLES, "stage": words.STAGES, "origin": words.ORIGINS}
    among |= {
        "source": words.ORIGINS,
        "outcome": words.OUTCOMES,
        "result": words.RESULTS,
        "how": words.FATES,
        "verdict": words.TRIALS,
    }
    if isinstance(value, bool):
        return "是" if value else "否"
    if isinstance(value, str | int):
        text = word(str(value), among.get(name, {}))
        return words.person(text) if text.startswith(PERSON) else plain(text)
    return json.dumps(value, ensure_ascii=False)


def _digest_of(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


class Renderer:
    """Renders `templates/NAME`. `entries`: what there is to go to, of which each role sees its own."""

    def __init__(self, entries: tuple[Entry, ...], *, sandbox: bool) -> None:
        self._entries = entries
        environment = Environment(
            loader=PackageLoader("pipeline.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(span=span, ago=ago)
        environment.filters.update(yuan=yuan, time=time, word=word, facts=facts, person=words.person, plain=plain)
        assets = {path.name: f"/static/{path.name}?v={_digest_of(path.name)}" for path in STATIC.iterdir()}
        environment.globals.update(
            words=words, words_money=words_money, assets=assets, sandbox=sandbox, menu=self._menu
        )
        self._environment = environment

    def render(self, template: str, **context: Any) -> str:
        return self._environment.get_template(template).render(context)

    def _menu(self, role: Role) -> list[Entry]:
        return [entry for entry in self._entries if role in entry.roles]
