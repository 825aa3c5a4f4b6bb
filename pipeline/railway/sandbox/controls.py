"""The bodies of the /sandbox/... control routes (INTERFACES section 7), checked before anything changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from pipeline.railway.sandbox.behaviours import BEHAVIOURS
from pipeline.railway.sandbox.seats import SEAT_CODES, SEAT_KINDS


class InvalidError(ValueError):
    """A control body that can't be used: 422. `field` is where (`passengers.0.name`)."""

    def __init__(self, field: str, error: str) -> None:
        super().__init__(f"{field}: {error}")
        self.field = field
        self.error = error


class ConflictError(InvalidError):
    """A hold that can't stand beside those there are: 409."""


def _as_text(value: object) -> object:
    """`503` and `500` may come as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Control(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class PassengerBody(BaseModel):
    """As in an order message; its further fields are of no use here."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    name: str = Field(min_length=1)
    id_type: str = Field(min_length=1)
    id_no: str = Field(min_length=1)
    ticket_type: Annotated[Literal["0", "1", "2"], BeforeValidator(_as_text)] = "1"


class SeatBody(BaseModel):
    """席别 by name or by Qunar's code."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    seat: Annotated[str, BeforeValidator(_as_text)]
    price_fen: int = Field(ge=0)

    @field_validator("seat")
    @classmethod
    def _known(cls, seat: str) -> str:
        name = SEAT_CODES.get(seat, seat)
        if name not in SEAT_KINDS:
            raise ValueError(f"must be one of {' '.join(SEAT_KINDS)}")
        return name


class HoldBody(_Control):
    account: str = Field(min_length=1)
    password: SecretStr = Field(min_length=1)
    held_order_no: str = Field(pattern=r"^[A-Z0-9]{1,32}$")
    train_no: str = Field(min_length=1)
    departure_at: AwareDatetime
    from_station: str = Field(min_length=1, alias="from")
    to_station: str = Field(min_length=1, alias="to")
    passengers: list[PassengerBody] = Field(min_length=1)
    seats: list[SeatBody] = Field(min_length=1)
    price_fen: int = Field(gt=0)
    deadline_s: float = Field(allow_inf_nan=False, ge=-(10**8), le=10**8)
    behaviour: str = "ok"
    delay_ms: int = Field(default=0, ge=0)
    force: bool = False

    @field_validator("behaviour")
    @classmethod
    def _known(cls, behaviour: str) -> str:
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"must be one of {' '.join(BEHAVIOURS)}")
        return behaviour

    @field_validator("departure_at")
    @classmethod
    def _to_the_minute(cls, at: datetime) -> datetime:
        return at.astimezone(UTC).replace(second=0, microsecond=0)


class OutageBody(_Control):
    """What is not named is up. `for_s` 0 ends an outage."""

    railway: bool = False
    cashier: bool = False
    mode: Annotated[Literal["refuse", "timeout", "503", "maintenance"], BeforeValidator(_as_text)] = "refuse"
    for_s: float = Field(default=0, ge=0, le=10**8)


class ClockBody(_Control):
    skew_s: float = Field(allow_inf_nan=False, ge=-(10**8), le=10**8)


class AgentBody(_Control):
    """`times` absent: until told otherwise; then `ok` again. `key` absent: as before."""

    answer: Annotated[Literal["ok", "false", "500", "timeout", "reset"], BeforeValidator(_as_text)] = "ok"
    times: int | None = Field(default=None, ge=0)
    key: SecretStr | None = Field(default=None, min_length=1)


_Body = TypeVar("_Body", bound=BaseModel)


def checked(kind: type[_Body], body: object) -> _Body:
    """The body as `kind`. Raises InvalidError naming the first field that is wrong, never its value."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidError(field, first["msg"].removeprefix("Value error, ")) from None
