"""The wake-up call between stages: `{"key": "<order_no>:<generation>:<step>"}`. The work itself is a row (DESIGN section 4)."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, ValidationError

from schemas.fields import Message
from schemas.problems import InvalidMessage, Problem, problems_of

CONTENT_TYPE = "application/json"
MAX_WAKEUP_BYTES = 1_000


class Wakeup(Message):
    key: Annotated[
        str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}:[0-9]{1,9}:[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")
    ]


def wakeup(key: str) -> bytes:
    """The message that wakes someone up for `key`. Raises InvalidMessage for what is no key."""
    try:
        return Wakeup(key=key).model_dump_json().encode()
    except ValidationError as error:
        problems = problems_of(error)
    raise InvalidMessage(problems)


def parse_wakeup(body: bytes) -> str:
    """The key that `body` names. Raises InvalidMessage."""
    if len(body) > MAX_WAKEUP_BYTES:
        raise InvalidMessage((Problem("body", f"is longer than {MAX_WAKEUP_BYTES} bytes"),))
    try:
        return Wakeup.model_validate_json(body).key
    except ValidationError as error:
        problems = problems_of(error)
    raise InvalidMessage(problems)
