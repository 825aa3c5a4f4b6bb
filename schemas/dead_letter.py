"""The message on a `.dlq` queue: what a stage could not finish. The row is the truth; this tells the desk of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from schemas.fields import Message, OrderNo, Time
from schemas.problems import InvalidMessage, Problem, problems_of

CONTENT_TYPE = "application/json"
MAX_DEAD_LETTER_BYTES = 4_000_000  # two sealed MB in base64, and room

Stage = Literal["intake", "credentials", "payment", "settlement", "notification"]


class DeadLetter(Message):
    """`detail` is in words and safe to show. Input nobody could decode comes along sealed (`body_sealed`) and counted by its
    digest (`digest`, SHA-256 hex of the body); what has a row carries neither.
    """

    id: str = Field(min_length=1, max_length=200)
    stage: Stage
    order_no: OrderNo | None
    generation: int | None = Field(ge=0)
    reason: str = Field(pattern=r"^[a-z_]{1,64}$")
    detail: str = Field(max_length=4000)
    body_sealed: str | None = Field(repr=False)
    digest: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    at: Time

    def to_bytes(self) -> bytes:
        """The message body, UTF-8 JSON."""
        return self.model_dump_json().encode()


def parse_dead_letter(body: bytes) -> DeadLetter:
    """Raises InvalidMessage."""
    if len(body) > MAX_DEAD_LETTER_BYTES:
        raise InvalidMessage((Problem("body", f"is longer than {MAX_DEAD_LETTER_BYTES} bytes"),))
    try:
        return DeadLetter.model_validate_json(body)
    except ValidationError as error:
        problems = problems_of(error)
    raise InvalidMessage(problems)
