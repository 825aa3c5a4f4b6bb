"""How an operator's act can fail, and who may act."""

from __future__ import annotations

from pipeline.errors import DaifuError

PERSON = "human:"


class NotFound(DaifuError):
    """There is no such order, agent, dead letter, account or task."""


class Refused(DaifuError):
    """A guard said no; nothing was changed. `code` is stable, `words` are for people."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code}: {words}")
        self.code, self.words = code, words


def person(actor: str) -> str:
    """`actor` itself, where it names a person (`human:NAME`). Raises ValueError: a process must not act as an operator."""
    if not actor.startswith(PERSON) or len(actor) == len(PERSON):
        raise ValueError(f"{actor!r} is no person; an operator's actor is written human:NAME")
    return actor


def words_of(text: str, what: str) -> str:
    """`text` without white space around it. Raises Refused where it is empty: a person's act needs its reason."""
    if not text.strip():
        raise Refused(f"{what}_missing", f"{what}: 不能为空")
    return text.strip()
