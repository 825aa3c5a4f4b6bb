"""What AM sent and what AM and people get: requests, results, the story of an order, dead letters, tasks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from pipeline.store.tables_common import RowId, metadata, where
from pipeline.store.types import Instant, Json

requests = Table(
    "requests",
    metadata,
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("order_no", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("answer", Text, nullable=False),  # done | accepted | repeat | refused | waiting
    Column("generation", Integer),
    Column("payload", Json),  # only while it waits for its order; passwords in it are sealed
    Column("received_at", Instant, nullable=False),
    PrimaryKeyConstraint("source", "id"),
)
Index(
    "requests_waiting",
    requests.c.order_no,
    **where("answer = 'waiting'"),
)

Index("requests_kept", requests.c.order_no, **where("payload IS NOT NULL"))

suspects = Table(
    "suspects",
    metadata,
    Column("digest", Text, primary_key=True),  # of an intake body that has no row yet
    Column("deaths", Integer, nullable=False),
    Column("at", Instant, nullable=False),
)

railway_refunds = Table(
    "railway_refunds",
    metadata,
    Column("order_no", Text, nullable=False),
    Column("refund_id", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("posted", Boolean, nullable=False),
    PrimaryKeyConstraint("order_no", "refund_id"),
)
Index("railway_refunds_in_time", railway_refunds.c.at)

results = Table(
    "results",
    metadata,
    Column("row_key", Text, primary_key=True),
    Column("order_no", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("sent_at", Instant),
)
Index("results_by_order", results.c.order_no)
Index("results_unsent", results.c.at, **where("sent_at IS NULL"))

history = Table(
    "history",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("order_no", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("what", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Column("actor", Text, nullable=False),
)
Index("history_by_order", history.c.order_no)

# The stories of orders that are long over, one row each: `daifu archive` moves them here, `history.story` reads both.
archived_stories = Table(
    "archived_stories",
    metadata,
    Column("order_no", Text, primary_key=True),
    Column("archived_at", Instant, nullable=False),
    Column("lines", Json, nullable=False),  # [{at (RFC 3339), what, detail, actor}], in time order
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),  # travels in the .dlq message; draining twice is draining once
    Column("stage", Text, nullable=False),
    Column("order_no", Text),
    Column("generation", Integer),
    Column("agent", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("amount_fen", BigInteger),
    Column("deadline", Instant),
    Column("state", Text, nullable=False),  # open | replayed | discarded | superseded
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("body_sealed", Text),  # what could not be decoded, under the second key ring
    Column("note", Text),
    Column("wake_at", Instant),  # when the relay publishes it (again); NULL once the desk has seen it
    Column("wakes", Integer, nullable=False, server_default=text("0")),
    Column("seen_at", Instant),
)
_open = "state = 'open' AND order_no IS NOT NULL"
Index(
    "dead_letters_one_open",
    dead_letters.c.order_no,
    dead_letters.c.generation,
    dead_letters.c.stage,
    unique=True,
    **where(_open),
)
Index(
    "dead_letters_to_wake",
    dead_letters.c.wake_at,
    **where("wake_at IS NOT NULL"),
)

IS_OPEN = "state = 'open'"
Index("dead_letters_open", dead_letters.c.deadline, dead_letters.c.id, **where(IS_OPEN))
Index("dead_letters_by_order", dead_letters.c.order_no)

tasks = Table(
    "tasks",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # close_abnormal | railway_refund
    Column("order_no", Text),  # NULL: a bill's line that no order of ours explains
    Column("reason", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("taken_by", Text),
    Column("taken_at", Instant),
    Column("closed_by", Text),
    Column("closed_at", Instant),
    Column("resolution", Text),
    Column("evidence", Text),
)

Index("tasks_by_order", tasks.c.order_no)
Index("tasks_open", tasks.c.opened_at, tasks.c.id, **where("closed_at IS NULL"))

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Column("role", Text),  # of the actor when it acted: agent | operator | supervisor | cli | system
    Column("origin", Text),  # from where: an address, or the command line
    Column("result", Text, nullable=False, server_default=text("'done'")),
    Column("reason", Text),  # in the actor's words
)
Index("audit_log_by_actor", audit_log.c.actor, audit_log.c.id)
Index("audit_log_by_subject", audit_log.c.subject, audit_log.c.id)
Index("audit_log_by_action", audit_log.c.action, audit_log.c.id)
