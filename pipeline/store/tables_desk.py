"""Replays of many dead letters: a job, one row for each dead letter in it, and what finds dead letters among very many."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, Text

from pipeline.store.tables_common import RowId, metadata, where
from pipeline.store.tables_messages import dead_letters
from pipeline.store.types import Instant, Json

replay_jobs = Table(
    "replay_jobs",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("made_at", Instant, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("chosen", Json, nullable=False),  # how: the filter's fields, or {"ids": how many}
    Column("state", Text, nullable=False),  # checking | checked | running | stopped | done
    Column("total", Integer, nullable=False),
    Column("started_at", Instant),
    Column("started_by", Text),
    Column("role", Text),  # of who started it, and from where: for the audit log
    Column("origin", Text),
    Column("agreed", Text),  # who of the agent agreed, and when, in the operator's words
    Column("every_us", BigInteger),  # between two replays
    Column("next_at", Instant),  # of the next replay; whoever moves it makes that replay
    Column("ended_at", Instant),
    Column("stopped_by", Text),
)
Index("replay_jobs_live", replay_jobs.c.state, **where("state IN ('checking','running')"))

replay_items = Table(
    "replay_items",
    metadata,
    Column("job_id", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),  # nearest deadline first
    Column("letter_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # unchecked | checked | waiting | done | left
    Column("plan", Text),  # the dry run: replay | refused
    Column("plan_why", Text),
    Column("told_at", Instant),  # when payStatus 2 had been delivered, at the dry run
    Column("result", Text),  # replay | refused | failed
    Column("why", Text),
    Column("at", Instant),
    PrimaryKeyConstraint("job_id", "place"),
)
Index("replay_items_unchecked", replay_items.c.job_id, replay_items.c.place, **where("state = 'unchecked'"))
Index("replay_items_waiting", replay_items.c.job_id, replay_items.c.place, **where("state = 'waiting'"))
# One dead letter waits in one job at a time.
Index("replay_items_one_waiting", replay_items.c.letter_id, unique=True, **where("state = 'waiting'"))
Index("replay_items_by_letter", replay_items.c.letter_id)

Index("dead_letters_open_by_reason", dead_letters.c.reason, dead_letters.c.stage, **where("state = 'open'"))
