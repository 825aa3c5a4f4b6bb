"""A parser as the fuzzer sees it: valid inputs to begin with, and one function that takes any bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

Take = Callable[[bytes], None]
CUT = b"\n--cut--\n"  # between the parts of an input that is more than one


@dataclass(frozen=True, slots=True)
class Parser:
    """`opened` gives the function that takes an input: what it raises is a defect, for it answers the errors that its parser
    documents. `words` are what a mutation may put in; `modules` what the lines reached are counted in; `share` how many of a
    million inputs it gets, beside the others; `longest` the bytes of an input."""

    name: str
    opened: Callable[[], AbstractContextManager[Take]]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]
    modules: tuple[str, ...]
    share: int
    longest: int = 4_096


def plain(take: Take) -> Callable[[], AbstractContextManager[Take]]:
    """Of a parser that needs nothing opened."""

    @contextmanager
    def opened() -> Iterator[Take]:
        yield take

    return opened


def parts(data: bytes, most: int) -> list[bytes]:
    """An input's parts, `most` of them: those that are not there are empty."""
    found = data.split(CUT, most - 1)
    return [*found, *[b""] * (most - len(found))]


def storable(text: str) -> None:
    """PostgreSQL takes it. Raises AssertionError."""
    assert "\0" not in text, "a NUL in what would be stored"
    text.encode()  # half a surrogate pair has no UTF-8
