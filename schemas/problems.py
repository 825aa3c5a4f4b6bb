"""What is wrong with a message, in words that may be stored, logged and shown: field names and rules, never values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_PROBLEMS = 50  # one bad message of a thousand fields must not become a megabyte of error text

# pydantic's own words for these would repeat what was sent; ours do not
_WORDS = {
    "union_tag_invalid": "not a type this interface knows",
    "union_tag_not_found": "is required",
    "missing": "is required",
}
_AT_TYPE = {"union_tag_invalid", "union_tag_not_found"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `field` as a path (`data.passengers[0].id_no`, `body` for the whole), `reason` in words.

    `index` is the place in an array of messages, None where a single message was read.
    """

    field: str
    reason: str
    index: int | None = None

    def __str__(self) -> str:
        at = "" if self.index is None else f"message {self.index}: "
        return f"{at}{self.field}: {self.reason}"


class InvalidMessage(ValueError):
    """A message that breaks the contract. Its text names each field and why; it never holds a value that was sent."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[InvalidMessage], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def problems_of(
    error: ValidationError, tags: frozenset[str] = frozenset(), *, many: bool = False
) -> tuple[Problem, ...]:
    """Translate pydantic's errors. `tags` are union tags to leave out of paths; with `many` the first step is the index."""
    found = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]:
        steps = list(detail["loc"])
        index = int(steps.pop(0)) if many and steps else None
        kind = detail["type"]
        if kind in _AT_TYPE:
            steps.append("type")
        path = _path([step for step in steps if step not in tags])
        found.append(Problem(path or "body", _WORDS.get(kind, detail["msg"]), index))
    return tuple(found)


def _path(steps: list[int | str]) -> str:
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path
