"""The outside world in the pipeline's own terms. Real clients and the sandbox's in-process twin both implement these.

Amounts are integer 分 (fen), times are aware UTC datetimes, names are what 12306 shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol


class Clock(Protocol):
    """Time as an argument: the wall clock in production, a virtual one in tests."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""


class Randomness(Protocol):
    """`random.Random` fits; a seeded one makes a run repeatable."""

    def random(self) -> float: ...

    def uniform(self, a: float, b: float) -> float: ...


class RailwayTicket(NamedTuple):
    """One seat of a 12306 order. `id_no` may be masked by 12306 (`1234***********234`)."""

    passenger_name: str
    id_type: str  # 12306 code: 1 二代身份证, C 港澳通行证, G 台湾通行证, B 护照 …
    id_no: str
    seat: str  # 席别 by name, berths with their level: 硬卧下, 二等座 …
    coach_no: str  # "11"
    seat_no: str  # "04号下铺"
    ticket_type: str  # Qunar code: 0 child, 1 adult, 2 student
    price_fen: int
    status_code: str  # wire-protocols B.2: i unpaid, a paid, b issued, c refunded, d changed …


class RailwayOrder(NamedTuple):
    """An order as 12306 lists it, unpaid or not."""

    hold_no: str
    train_no: str
    departure_at: datetime
    from_station: str
    to_station: str
    tickets: tuple[RailwayTicket, ...]
    total_fen: int
    pay_deadline: datetime | None  # only unpaid orders carry one


class PaymentForm(NamedTuple):
    """The cashier form that 12306 hands out for a held order. Sending it is the submit: it may move money."""

    hold_no: str
    trade_no: str  # the cashier's trade number (`ord_id_ext`), known before the submit
    amount_fen: int  # as in tranData, equal to the form's ord_amt, checked by the client
    deadline: datetime  # orderTimeoutDate
    fields: tuple[tuple[str, str], ...]  # sent as they are


class SubmitKind(StrEnum):
    NOT_SENT = "not_sent"  # proven: not one byte of the request left
    SENT = "sent"  # answered; says nothing about whether money moved
    REFUSED = "refused"  # an exact text of the allow-list: no money moved
    UNKNOWN = "unknown"  # time-out, reset, 5xx, garbage after the first byte


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    kind: SubmitKind
    detail: str


class TradeState(StrEnum):
    NONE = "none"  # the cashier does not know this trade
    WAITING = "waiting"  # known, not paid
    PAID = "paid"
    REFUNDED = "refunded"  # paid, then given back wholly or in part
    CLOSED = "closed"  # timed out unpaid


@dataclass(frozen=True, slots=True)
class Trade:
    state: TradeState
    amount_fen: int  # 0 unless PAID or REFUNDED


class RailwaySession(Protocol):
    """One login of one 12306 account. A second login of that account ends it (`SessionLost`)."""

    skew_s: float  # 12306's clock minus ours, read at login

    async def unpaid_orders(self) -> tuple[RailwayOrder, ...]:
        """The unpaid list; it may be empty for seconds though a hold exists. Raises UpstreamError."""

    async def find_order(self, hold_no: str, *, around: datetime) -> RailwayOrder | None:
        """Look in the list of finished orders (queryMyOrder), booked within a day of `around`. Raises UpstreamError."""

    async def payment_form(self, hold_no: str) -> PaymentForm:
        """Walk continue → payOrder → payGateway → webBusiness. Moves no money. Raises UpstreamError."""

    async def close(self) -> None:
        """Forget the session; never raises, sends nothing."""


class Railway(Protocol):
    async def login(self, login: str, password: str) -> RailwaySession:
        """Raises LoginRefused, Unreachable, Busy, Garbled."""

    async def probe(self) -> None:
        """A read-only call without login; raises Unreachable while 12306 is down."""


class CashierLine(Protocol):
    """An open connection to the cashier, good for one submit."""

    async def submit(self, form: PaymentForm, still_ours: Callable[[], bool]) -> SubmitAnswer:
        """Send the form once. `still_ours` is asked right before the first byte; False means nothing is sent (NOT_SENT).

        Never raises for what the network or the cashier does, never repeats, follows no redirect.
        """

    async def close(self) -> None: ...


class Cashier(Protocol):
    async def open(self) -> CashierLine:
        """Connect (and shake hands). Raises Unreachable."""

    async def trade(self, trade_no: str) -> Trade:
        """What the cashier knows of a trade. A good answer "no such trade" is TradeState.NONE. Raises UpstreamError."""

    async def probe(self) -> None:
        """A read-only call; raises Unreachable while the cashier is down."""


class CaptchaSolver(Protocol):
    async def solve(self, image: bytes) -> str:
        """The answer to a login captcha. Raises LoginRefused("captcha_required", …) when it can't."""


class CallFailure(StrEnum):
    """Why an agent's address gave no answer."""

    NO_URL = "no_url"
    NOT_HTTPS = "not_https"
    USER_NAME = "user_name"  # in the address
    NO_HOST = "no_host"  # in the address
    PORT = "port"  # of another protocol
    NO_ADDRESS = "no_address"  # of the host
    DENIED = "denied"  # one of the host's addresses
    TIMEOUT = "timeout"
    BROKE_OFF = "broke_off"  # refused, reset, TLS, or no HTTP


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What an agent's address answered. `delivered` is true only for a JSON answer whose `ret` is true."""

    delivered: bool
    status: int | None  # HTTP status, None when there was no answer
    answer: str  # at most 2,000 characters of the body, or the error in words
    retry_after_s: float | None = None
    gone: bool = False  # HTTP 410
    failure: CallFailure | None = None  # where `status` is None


class AgentCaller(Protocol):
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> CallbackAnswer:
        """POST a form to an agent. Never raises for what the network or the agent does."""
