"""The overview as the JSON API gives it."""

from __future__ import annotations

from pydantic import BaseModel

from pipeline.console.controls import Pause


class Stage(BaseModel):
    """`queue`, `dead_letter_queue`: messages that the broker has ready, None where it was not asked or the queue is missing.

    `due`: rows that wait for a worker; `later`: due within the hour; `failing`: rows that failed at least once.
    """

    stage: str
    queue: int | None
    dead_letter_queue: int | None
    due: int
    oldest_due_at: str | None
    oldest_due_s: float | None
    in_hand: int
    later: int
    failing: int
    per_minute: float
    dead_letters: int
    workers: int
    paused: Pause | None


class Breaker(BaseModel):
    upstream: str
    open_since: str
    next_probe_at: str | None
    detail: str | None


class Ending(BaseModel):
    """Holds that end within `within_s`: of purchases without an intent, and of open dead letters."""

    within_s: int
    purchases: int
    amount_fen: int
    dead_letters: int
    dead_letters_fen: int


class Age(BaseModel):
    """Money submitted at least `from_s` ago, up to the next age."""

    from_s: int
    in_doubt: int
    in_doubt_fen: int
    abnormal: int
    abnormal_fen: int


class InFlight(BaseModel):
    total_fen: int
    ages: list[Age]


class Hour(BaseModel):
    hour: str
    purchased: int
    held_unpaid: int
    paid_abnormal: int


class OpenTasks(BaseModel):
    kind: str
    words: str
    tasks: int
    free: int
    oldest_at: str | None


class Finding(BaseModel):
    """A broken invariant: how many orders it is about (100 at most are kept), the first of them, and how much money.

    `severity`: money, order or record; null where this version does not know the invariant.
    """

    invariant: str
    severity: str | None
    several: int
    orders: list[str]
    amount_fen: int


class LastAudit(BaseModel):
    """`broken`: names of invariants; `findings`: the same with what they are about."""

    at: str
    ok: bool
    checked: int
    broken: list[str]
    findings: list[Finding]
    took_s: float


class BrokerSeen(BaseModel):
    """`trouble`: why the broker could not be asked; null: it was. `missing`: queues that it should have."""

    trouble: str | None
    missing: list[str]


class Overview(BaseModel):
    """`paying_paused_since`: the backup's moment while a restore is being worked through."""

    at: str
    paying_paused_since: str | None
    stages: list[Stage]
    broker: BrokerSeen
    breakers: list[Breaker]
    pauses: list[Pause]
    holds: list[Ending]
    in_flight: InFlight
    hours: list[Hour]
    tasks: list[OpenTasks]
    audit: LastAudit | None
