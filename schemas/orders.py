"""The parts of an order that several messages share."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from schemas.envelope import OrderData
from schemas.fields import AgentCode, Code, Fen, HoldNo, Message, Name, Text, Time

Trip = Literal["single", "joint"]


class Seat(Message):
    """A kind of seat and what one of it costs. `code` is a TTS seat code, or a name where there is no code."""

    code: Code
    price_fen: Fen


class Student(Message):
    """What 12306 asks of a student ticket; passed on to the agent as it came (wire-protocols A.4, passengerStudentExt)."""

    province: Text = ""
    province_code: Text = ""
    school_code: Text = ""
    school_name: Text = ""
    student_no: Text = Field(default="", repr=False)
    schooling: Text = ""
    intended_time: Text = ""
    discount_section_begin: Text = ""
    discount_section_begin_code: Text = ""
    discount_section_end: Text = ""
    discount_section_end_code: Text = ""


class Passenger(Message):
    """`id_type`: 1 二代身份证, C 港澳通行证, G 台湾通行证, B 护照 …; `ticket_type`: 0 child, 1 adult, 2 student."""

    name: Name
    id_type: Code
    id_no: str = Field(repr=False, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    ticket_type: Code = "1"
    student: Student | None = None


class Contact(Message):
    name: Text | None = Field(default=None, repr=False)
    phone: Text | None = Field(default=None, repr=False)
    email: Text | None = Field(default=None, repr=False)


class Ticket(Message):
    """One seat of a held or issued 12306 order. `ticket_no` is the 12306 order number, the same for all its tickets.

    Only the first four were always sent (wire-protocols A.4, the 2013 minimum). `seq` is 0 for a single trip, 1..n per leg.
    """

    ticket_no: HoldNo
    seat_type: Code
    seat_no: Text
    price_fen: Fen
    passenger_name: Text = ""
    ticket_type: Code = "1"
    seq: Code = "0"


class Leg(Message):
    """One train of a joint trip, in the order of travel."""

    train_no: Name
    from_station: Name = Field(alias="from")
    to_station: Name = Field(alias="to")
    departure_at: Time
    arrival_at: Time | None = None
    seat: Seat
    fallback_seats: tuple[Seat, ...] = Field(default=(), max_length=50)


class OrderPaid(OrderData):
    """The user has paid for an order. A joint trip is valid here; it is refused when someone asks to pay for it."""

    agent: AgentCode
    trip: Trip
    train_no: Name
    from_station: Name = Field(alias="from")
    to_station: Name = Field(alias="to")
    departure_at: Time
    arrival_at: Time | None = None
    seat: Seat
    fallback_seats: tuple[Seat, ...] = Field(default=(), max_length=50)
    legs: tuple[Leg, ...] | None = Field(default=None, max_length=10)  # of a joint trip
    passengers: tuple[Passenger, ...] = Field(min_length=1, max_length=50)
    contact: Contact | None = None
    fare_fen: Fen
    insurance_fen: Fen = 0
    insurance_no: Text | None = None
    appointment: bool | Text | None = None  # 预约状态: AM's own word for it, shown and searched, never acted on
    source: Text | None = None  # 订单来源, e.g. PC端
    ordered_at: Time
    paid_at: Time


class SoughtSeat(Message):
    code: str


class SoughtPassenger(Message):
    name: str
    id_type: str
    id_no: str = Field(repr=False)
    ticket_type: str


class Sought(Message):
    """Of an order.paid as it was stored, what its held order must agree with. It was checked when it came: this only reads it."""

    train_no: str
    from_station: str = Field(alias="from")
    to_station: str = Field(alias="to")
    departure_at: AwareDatetime
    seat: SoughtSeat
    fallback_seats: tuple[SoughtSeat, ...]
    passengers: tuple[SoughtPassenger, ...]
    fare_fen: int
