"""Dead letters and replay jobs as the JSON API gives them: the fields of INTERFACES section 6 and more."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field

from pipeline.console.fields import MaybeText, Moment, Text, Words
from pipeline.store.queries_letters import LetterFilter

LARGEST_ID = 2**63 - 1
RowNumber = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Chosen = Annotated[int, Field(ge=1, le=LARGEST_ID)]


class Wanted(BaseModel):
    """What to look for; empty fields look for nothing. `state`: open unless it is named; `all` is any."""

    text: MaybeText = None
    stage: MaybeText = None
    reason: MaybeText = None
    agent: MaybeText = None
    state: MaybeText = None
    first_since: Moment = None
    first_until: Moment = None
    last_since: Moment = None
    last_until: Moment = None
    failed_again: bool = False
    cursor: MaybeText = None

    def filter(self) -> LetterFilter:
        return LetterFilter(
            self.stage, self.reason, self.agent, None if self.state == "all" else self.state or "open", self.text,
            self.first_since, self.first_until, self.last_since, self.last_until, self.failed_again,
        )  # fmt: skip

    def kept(self) -> dict[str, Any]:
        """The fields that are set, as a form or an address carries them."""
        return self.model_dump(exclude={"cursor"}, exclude_defaults=True, exclude_none=True, mode="json")


class Letter(BaseModel):
    """One dead letter; amounts in fen, times RFC 3339 in Asia/Shanghai."""

    id: int
    stage: str
    order_no: str | None
    generation: int | None
    agent: str | None
    reason: str
    words: str
    detail: str
    attempts: int
    first_at: str
    last_at: str
    amount_fen: int | None
    deadline: str | None
    state: str
    replays: int
    failed_again: bool
    replay: str
    note: str | None
    raw: bool


class Letters(BaseModel):
    rows: list[Letter]
    next: str | None


class Plan(Letter):
    """A dead letter and what a replay would do now; `why` where it would be refused."""

    would: Literal["replay", "refuse"]
    why: str
    does: str
    told_at: str | None


class Group(BaseModel):
    reason: str
    stage: str
    words: str
    replay: str
    letters: int
    amount_fen: int
    deadline: str | None
    first_at: str
    last_at: str
    failed_again: int


class Reasoned(BaseModel):
    reason: Words


class Noted(BaseModel):
    note: Text = ""


class Agreed(BaseModel):
    """`agreed`: who of the agent agreed, and when; needed where payStatus 2 was delivered."""

    agreed: MaybeText = None


class Result(BaseModel):
    id: int
    result: Literal["replay", "refused"]
    why: str


class Now(BaseModel):
    """What a dead letter is after an act."""

    id: int
    state: str


class Selection(Wanted):
    """What a job is made over: `ids`, or all that the filter finds. One of both, never none: `all_found` says so."""

    ids: Annotated[list[Chosen], Field(max_length=1_000)] = []
    all_found: bool = False


class Go(BaseModel):
    """How a checked job runs; `rate`: replays per second."""

    rate: Annotated[float, Field(ge=1 / 60, le=100, allow_inf_nan=False)] = 5.0
    agreed: MaybeText = None


class Refusals(BaseModel):
    why: str | None
    letters: int


class Job(BaseModel):
    """A replay of many: dry run (`checking`, `checked`), then `running`, `stopped` or `done`."""

    id: int
    state: str
    chosen: dict[str, Any]
    total: int
    checked: int
    eligible: int
    ineligible: int
    waiting: int
    left_alone: int
    replayed: int
    refused: int
    failed: int
    rate: float | None
    agreed: str | None
    made_at: str
    made_by: str
    started_at: str | None
    started_by: str | None
    ended_at: str | None
    stopped_by: str | None


class Progress(Job):
    failed_again: int
    eligible_fen: int
    told: int
    told_first_at: str | None
    told_last_at: str | None
    refusals: list[Refusals]


class Jobs(BaseModel):
    rows: list[Job]
    next: str | None


class Item(BaseModel):
    """One dead letter of a job: what the dry run said, what the replay gave, and what became of the order since."""

    id: int
    order_no: str | None
    agent: str | None
    stage: str
    reason: str
    amount_fen: int | None
    deadline: str | None
    state: str
    plan: str | None
    plan_why: str | None
    told_at: str | None
    result: str | None
    why: str | None
    at: str | None
    generation: int | None
    purchase_state: str | None
    failed_again: bool


class Items(BaseModel):
    rows: list[Item]
    next: str | None
