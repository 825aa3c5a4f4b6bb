"""The CloudEvents 1.0 envelope, structured JSON mode: the whole event is the message body.

Structured mode is the portable choice on AMQP 0-9-1, for which CloudEvents has no binding (anchors/messaging.md 3.5).
Content type on the wire: `application/cloudevents+json`.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.fields import Message, OrderNo, Time

CONTENT_TYPE = "application/cloudevents+json"

EventId = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
JsonMediaType = Annotated[
    str, StringConstraints(max_length=128, pattern=r"^(application|text)/([0-9A-Za-z.+-]+\+)?json(\s*;.*)?$")
]


class OrderData(Message):
    """What every event's data begins with."""

    order_no: OrderNo


DataT = TypeVar("DataT", bound=OrderData)


class CloudEvent(Message, Generic[DataT]):
    """One event. `source` + `id` name it for good; `subject`, where given, is the order number of `data`."""

    specversion: Literal["1.0"] = "1.0"
    id: EventId
    source: EventId
    type: str
    time: Time
    datacontenttype: JsonMediaType = "application/json"
    data: DataT
    subject: str | None = None  # after `data`, which its validator reads

    @field_validator("subject")
    @classmethod
    def _names_the_order(cls, subject: str | None, info: ValidationInfo) -> str | None:
        data = info.data.get("data")
        if subject is not None and isinstance(data, OrderData) and subject.strip() != data.order_no:
            raise PydanticCustomError("subject", "must equal data.order_no")
        return subject

    def to_bytes(self) -> bytes:
        """The message body, UTF-8 JSON."""
        return self.model_dump_json(exclude_none=True).encode()
