"""How a request can end other than well; `failures.py` turns these into pages and JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipeline.errors import DaifuError


class WrongField(BaseModel):
    field: str
    label: str
    problem: str


class Problem(BaseModel):
    """Any answer of the API but a good one: a stable code, words for people, and which fields are wrong."""

    error: str
    words: str
    fields: list[WrongField] = []


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": words}
    for status, words in (
        (400, "not readable"),
        (401, "not signed in"),
        (
            403,
            "not in a role that may, a request that none of our pages sent, or `prove_first`: who it is must be proven anew",
        ),
        (404, "not there, or another agent's"),
        (409, "a guard refused it"),
        (422, "a field is wrong"),
        (429, "too many wrong tries; look again in 15 minutes"),
        (503, "the database can't be reached"),
    )
}


class NoSession(DaifuError):
    """Nobody is signed in: pages go to /login, the API answers 401."""


class NotProven(DaifuError):
    """Signed in too long ago for what can hardly be undone: pages go to /confirm and back, the API answers 403 `prove_first`."""


class Forbidden(DaifuError):
    """Signed in, but not in a role that may: 403."""


class Forged(DaifuError):
    """An unsafe request that none of our own pages sent: 403."""


class Missing(DaifuError):
    """There is no such thing, or it is another agent's: 404. The text says which kind of thing."""
