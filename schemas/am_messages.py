"""Every message that comes from AM, and how its bytes are read (INTERFACES section 3).

`parse` reads straight from the bytes (spike-costs section 5: parsing JSON first costs more than twice as much).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar, get_args

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.codes import NoTicketReason
from schemas.envelope import CloudEvent, DataT, OrderData
from schemas.fields import Account, AgentCode, Comment, Fen, HoldNo, Name, PositiveFen, Sealed, Time
from schemas.orders import OrderPaid, Ticket
from schemas.problems import InvalidMessage, Problem, problems_of

MAX_BODY_BYTES = 1_000_000
MAX_MESSAGES = 1_000

TraceParent = Annotated[str | None, BeforeValidator(lambda value: value if isinstance(value, str) else None)]
"""W3C Trace Context. What is none costs the sender its trace, not its message."""


class NeedPay(OrderData):
    """The agent asks us to pay its held order. With `order` inside it counts as that order's order.paid too."""

    agent: AgentCode
    account: Account
    password_sealed: Sealed | None = Field(default=None, repr=False)
    held_order_no: HoldNo | None = None
    price_fen: Fen | None = None
    tickets: tuple[Ticket, ...] = Field(default=(), max_length=50)
    order: OrderPaid | None = None

    @field_validator("order")
    @classmethod
    def _is_the_same_order(cls, order: OrderPaid | None, info: ValidationInfo) -> OrderPaid | None:
        if order is None:
            return None
        for name in ("order_no", "agent"):
            if name in info.data and getattr(order, name) != info.data[name]:
                raise PydanticCustomError("order", "{name} differs from the request's", {"name": name})
        return order

    @property
    def hold_numbers(self) -> tuple[str, ...]:
        """The held orders that this request names, each once, sorted; a request that can be paid names at most one."""
        named = {ticket.ticket_no for ticket in self.tickets}
        if self.held_order_no is not None:
            named.add(self.held_order_no)
        return tuple(sorted(named))


class Confirmed(OrderData):
    """The agent ticketed the order itself. `account` may be missing: some clients never send it (wire-protocols A.3)."""

    agent: AgentCode
    account: Account | None = None
    tickets: tuple[Ticket, ...] = Field(min_length=1, max_length=50)


class NoTicket(OrderData):
    agent: AgentCode
    reason: NoTicketReason
    comment: Comment = ""


class RefundRequested(OrderData):
    agent: AgentCode
    requested_at: Time


class RefundClosed(OrderData):
    agent: AgentCode
    granted: bool


class RefundArrived(OrderData):
    """12306 paid money back. `refund_id` names the refund: it is booked once."""

    agent: AgentCode
    refund_id: Name
    amount_fen: PositiveFen


class FromAm(CloudEvent[DataT], Generic[DataT]):
    """What AM sends may be part of a trace of AM's (CloudEvents' distributed tracing extension)."""

    traceparent: TraceParent = None


class OrderPaidEvent(FromAm[OrderPaid]):
    type: Literal["order.paid"]


class NeedPayEvent(FromAm[NeedPay]):
    """`time` is when the agent asked."""

    type: Literal["purchase.need_pay"]


class ConfirmedEvent(FromAm[Confirmed]):
    type: Literal["purchase.confirmed"]


class NoTicketEvent(FromAm[NoTicket]):
    type: Literal["purchase.no_ticket"]


class RefundRequestedEvent(FromAm[RefundRequested]):
    type: Literal["refund.requested"]


class RefundClosedEvent(FromAm[RefundClosed]):
    type: Literal["refund.closed"]


class RefundArrivedEvent(FromAm[RefundArrived]):
    type: Literal["refund.arrived"]


AmData = OrderPaid | NeedPay | Confirmed | NoTicket | RefundRequested | RefundClosed | RefundArrived
AmEvent = (
    OrderPaidEvent
    | NeedPayEvent
    | ConfirmedEvent
    | NoTicketEvent
    | RefundRequestedEvent
    | RefundClosedEvent
    | RefundArrivedEvent
)
EVENTS: tuple[type[AmEvent], ...] = (
    OrderPaidEvent,
    NeedPayEvent,
    ConfirmedEvent,
    NoTicketEvent,
    RefundRequestedEvent,
    RefundClosedEvent,
    RefundArrivedEvent,
)


def type_of(event: type[AmEvent]) -> str:
    """The CloudEvents type that an event class stands for; also its routing key."""
    return str(get_args(event.model_fields["type"].annotation)[0])


TYPES: tuple[str, ...] = tuple(type_of(event) for event in EVENTS)


ReadT = TypeVar("ReadT")

_TAGS = frozenset(TYPES)
_ONE: TypeAdapter[AmEvent] = TypeAdapter(
    Annotated[AmEvent, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)
_MANY: TypeAdapter[list[AmEvent]] = TypeAdapter(
    Annotated[list[Annotated[AmEvent, Field(discriminator="type")]], Field(max_length=MAX_MESSAGES)],
    config=ConfigDict(defer_build=True),
)


class AmMessage(NamedTuple):
    """One message as the pipeline handles it. `source` + `id` name it for good, `time` is UTC."""

    source: str
    id: str
    type: str
    time: datetime
    order_no: str
    data: AmData
    traceparent: str | None = None


def message_of(event: AmEvent) -> AmMessage:
    return AmMessage(event.source, event.id, event.type, event.time, event.data.order_no, event.data, event.traceparent)


def parse(body: bytes) -> AmMessage:
    """Read one message. Raises InvalidMessage; its text names fields and rules, never a value."""
    return message_of(parse_event(body))


def parse_event(body: bytes) -> AmEvent:
    """Read one message with its envelope, as `parse` does."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidMessage((Problem("body", f"is longer than {MAX_BODY_BYTES} bytes"),))
    return _read(_ONE, body, many=False)


def parse_many(body: bytes) -> list[AmMessage]:
    """Read one message or an array of at most 1,000 (the caller caps the bytes). Raises InvalidMessage, with indexes."""
    if body.lstrip(b" \t\r\n")[:1] == b"[":
        return [message_of(event) for event in _read(_MANY, body, many=True)]
    return [message_of(_read(_ONE, body, many=False))]


def _read(adapter: TypeAdapter[ReadT], body: bytes, *, many: bool) -> ReadT:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problems = problems_of(error, _TAGS, many=many)
    # outside of the except: the ValidationError knows what was sent and must not hang on as the context
    raise InvalidMessage(problems)
