"""The wake-up call between stages: `{"key": "<order_no>:<generation>:<step>"}`, with `"more": [key, …]` where several rows became
due at once. The work itself is a row (DESIGN section 4): who reads only `key` loses nothing, the relay wakes the others later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field, StringConstraints, ValidationError

from schemas.fields import Message
from schemas.problems import InvalidMessage, Problem, problems_of

CONTENT_TYPE = "application/json"
#: A whole batch, where a stage has one worker: handed on in pieces it is worked on in pieces, and each costs its stage nearly what the
#: whole would.
MAX_KEYS: Final = 600
MAX_WAKEUP_BYTES: Final = 90_000  # the longest keys there can be, and room

Key = Annotated[
    str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}:[0-9]{1,9}:[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")
]


class Wakeup(Message):
    key: Key
    more: tuple[Key, ...] = Field(default=(), max_length=MAX_KEYS - 1)


def wakeup(first: str, *more: str) -> bytes:
    """The message that wakes someone up for these keys. Raises InvalidMessage for what is no key, and for too many."""
    try:
        return Wakeup(key=first, more=more).model_dump_json(exclude_defaults=True).encode()
    except ValidationError as error:
        problems = problems_of(error)
    raise InvalidMessage(problems)


def parse_wakeup(body: bytes) -> Sequence[str]:
    """The keys that `body` names, at least one. Raises InvalidMessage."""
    if len(body) > MAX_WAKEUP_BYTES:
        raise InvalidMessage((Problem("body", f"is longer than {MAX_WAKEUP_BYTES} bytes"),))
    try:
        read = Wakeup.model_validate_json(body)
    except ValidationError as error:
        problems = problems_of(error)
    else:
        return (read.key, *read.more)
    raise InvalidMessage(problems)
