"""The tables. Business keys are text: `order_no`, `order_no:generation` (a purchase), `order_no:generation:n` (an attempt),
`order_no:generation:step` (a work row). What holds the promise "paid at most once" are the unique indexes on `attempts`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pipeline.store.types import Instant, Json

metadata = MetaData()

# SQLite numbers rows by itself only for INTEGER; PostgreSQL gets an identity BIGINT.
RowId = BigInteger().with_variant(Integer(), "sqlite")

agents = Table(
    "agents",
    metadata,
    Column("code", Text, primary_key=True),
    Column("callback_url", Text, nullable=False),
    Column("merchant_key_sealed", Text, nullable=False),
    Column("webhook_secret_sealed", Text, nullable=False),
    Column("password_sealed", Text),  # the unified 12306 password
    Column("password_hash", Text),  # argon2id of the same, only to check 原密码
    Column("created_at", Instant, nullable=False),
)

agent_accounts = Table(
    "agent_accounts",
    metadata,
    Column("agent", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("password_sealed", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
    PrimaryKeyConstraint("agent", "login"),
)

railway_accounts = Table(
    "railway_accounts",
    metadata,
    Column("login", Text, primary_key=True),
    Column("refused_tries", Integer, nullable=False, server_default=text("0")),
    Column("locked_until", Instant),
    Column("lease_owner", Text),
    Column("lease_key", Text),  # the work row it is leased for
    Column("lease_end", Instant),
)

refused_credentials = Table(
    "refused_credentials",
    metadata,
    Column("login", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # HMAC of the password under the vault's key
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("login", "fingerprint"),
)

orders = Table(
    "orders",
    metadata,
    Column("order_no", Text, primary_key=True),
    Column("agent", Text, nullable=False),
    Column("joint_trip", Boolean, nullable=False),
    Column("details", Json, nullable=False),  # the order.paid data as received
    Column("fare_fen", BigInteger, nullable=False),
    Column("frozen_fen", BigInteger, nullable=False),  # what of the fare is still frozen; leaves once
    Column("departure_at", Instant, nullable=False),
    Column("paid_at", Instant, nullable=False),
    Column("closure", Text),
    Column("closed_at", Instant),
    Column("close_detail", Json),
    Column("refund_requested_at", Instant),
    Column("refund_closed_at", Instant),
    Column("kept_confirm", Json),  # a CONFIRM that waits for the outcome
    Column("kept_refund", Boolean, nullable=False, server_default=text("false")),
    Column("tickets", Json),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("result_seq", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("frozen_fen >= 0 AND frozen_fen <= fare_fen", name="orders_frozen_within_fare"),
)
Index("orders_by_agent", orders.c.agent, orders.c.created_at)

purchases = Table(
    "purchases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("order_no", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("agent", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("login", Text, nullable=False),
    Column("password_sealed", Text),  # deleted when the purchase ends
    Column("held_order_no", Text),
    Column("hold_deadline", Instant),
    Column("stated_fen", BigInteger),
    Column("paid_fen", BigInteger, nullable=False, server_default=text("0")),
    Column("unfrozen_fen", BigInteger, nullable=False, server_default=text("0")),
    Column("partial_refund_fen", BigInteger, nullable=False, server_default=text("0")),
    Column("origin", Text, nullable=False),  # queue | http | replay
    Column("content_digest", Text),
    Column("requested_at", Instant, nullable=False),
    Column("accepted_at", Instant, nullable=False),
    Column("stop_at", Instant, nullable=False),
    Column("concluded_at", Instant),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("order_no", "generation"),
)
Index(
    "purchases_to_stop",
    purchases.c.stop_at,
    postgresql_where=text("state IN ('accepted','ready','paying')"),
    sqlite_where=text("state IN ('accepted','ready','paying')"),
)
Index(
    "purchases_in_doubt",
    purchases.c.order_no,
    postgresql_where=text("state IN ('paying','in_doubt')"),
    sqlite_where=text("state IN ('paying','in_doubt')"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("purchase_id", Text, nullable=False),
    Column("order_no", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("login", Text, nullable=False),
    Column("held_order_no", Text),
    Column("opened_at", Instant, nullable=False),
    Column("submitted_at", Instant),  # the intent
    Column("concluded_at", Instant),
    Column("amount_fen", BigInteger),
    Column("debited_fen", BigInteger),
    Column("trade_no", Text),
    Column("final_after", Instant),  # hold deadline + grace: answers after it can prove "unpaid"
    Column("proof", Text),  # paid | refused | not_sent | no_payment | person
    Column("end_detail", Text),
    Column("questions", Integer, nullable=False, server_default=text("0")),
    Column(
        "outage_us", BigInteger, nullable=False, server_default=text("0")
    ),  # breaker-open time left out of the window
    UniqueConstraint("purchase_id", "n"),
    CheckConstraint(
        "submitted_at IS NULL OR (held_order_no IS NOT NULL AND amount_fen > 0 AND trade_no IS NOT NULL"
        " AND final_after IS NOT NULL)",
        name="attempts_intent_is_complete",
    ),
)


def _unique_where(name: str, column: Column[str], predicate: str) -> None:
    Index(name, column, unique=True, postgresql_where=text(predicate), sqlite_where=text(predicate))


NOT_PROVEN_UNPAID = "(proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))"
_unique_where("attempts_one_open", attempts.c.purchase_id, "concluded_at IS NULL")
_unique_where("attempts_one_submit", attempts.c.purchase_id, "submitted_at IS NOT NULL")
_unique_where("attempts_one_per_order", attempts.c.order_no, f"submitted_at IS NOT NULL AND {NOT_PROVEN_UNPAID}")
_unique_where(
    "attempts_one_per_hold",
    attempts.c.held_order_no,
    f"held_order_no IS NOT NULL AND (concluded_at IS NULL OR (submitted_at IS NOT NULL AND {NOT_PROVEN_UNPAID}))",
)

work = Table(
    "work",
    metadata,
    Column("key", Text, primary_key=True),
    Column("order_no", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("wake_at", Instant, nullable=False),  # when the relay publishes it (again)
    Column("wakes", Integer, nullable=False, server_default=text("0")),
    Column("urgency", Instant, nullable=False),  # soonest first: the purchase's stop_at
    Column("lease_owner", Text),
    Column("lease_end", Instant),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("version", Integer, nullable=False, server_default=text("0")),  # grows when the work itself changes
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("deaths", Integer, nullable=False, server_default=text("0")),
    Column("waits_for", Text),  # the login of a busy account
    Column("first_failed_at", Instant),
    Column("last_error", Text),
    Column("created_at", Instant, nullable=False),
)
Index("work_to_wake", work.c.wake_at)
Index("work_by_order", work.c.order_no)
Index(
    "work_leased",
    work.c.lease_owner,
    postgresql_where=text("lease_owner IS NOT NULL"),
    sqlite_where=text("lease_owner IS NOT NULL"),
)
Index(
    "work_waiting",
    work.c.waits_for,
    postgresql_where=text("waits_for IS NOT NULL"),
    sqlite_where=text("waits_for IS NOT NULL"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),  # an incarnation: a new one at every start
    Column("stage", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("alive_until", Instant, nullable=False),
    Column("closed_at", Instant),
)

ledger_postings = Table(
    "ledger_postings",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("order_no", Text),
    Column("attempt_id", Text),
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("at", Instant, nullable=False),
)
Index("ledger_postings_by_order", ledger_postings.c.order_no)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("posting_key", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    UniqueConstraint("posting_key", "account"),
    CheckConstraint("amount_fen <> 0", name="ledger_entries_move_something"),
)

ledger_balances = Table(
    "ledger_balances",
    metadata,
    Column("agent", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("balance_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent", "account"),
    CheckConstraint("balance_fen >= 0", name="ledger_balances_never_negative"),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("order_no", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("agent", Text, nullable=False),
    Column("pay_status", Text, nullable=False),
    Column("webhook_id", Text, nullable=False, unique=True),
    Column("body", Text),  # stored at the first call and sent as it is ever after
    Column("state", Text, nullable=False),  # pending | delivered | cancelled | exhausted
    Column("calls", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Instant, nullable=False),
    Column("delivered_at", Instant),
)
Index("callbacks_by_order", callbacks.c.order_no)

callback_calls = Table(
    "callback_calls",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("callback_id", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("status", Integer),
    Column("answer", Text, nullable=False),
    Column("delivered", Boolean, nullable=False),
)
Index("callback_calls_by_callback", callback_calls.c.callback_id)

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
Index("results_unsent", results.c.at, postgresql_where=text("sent_at IS NULL"), sqlite_where=text("sent_at IS NULL"))

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
    postgresql_where=text("answer = 'waiting'"),
    sqlite_where=text("answer = 'waiting'"),
)

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

suspects = Table(
    "suspects",
    metadata,
    Column("digest", Text, primary_key=True),  # of an intake body that has no row yet
    Column("deaths", Integer, nullable=False),
    Column("at", Instant, nullable=False),
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
    postgresql_where=text(_open),
    sqlite_where=text(_open),
)
Index(
    "dead_letters_to_wake",
    dead_letters.c.wake_at,
    postgresql_where=text("wake_at IS NOT NULL"),
    sqlite_where=text("wake_at IS NOT NULL"),
)

breakers = Table(
    "breakers",
    metadata,
    Column("upstream", Text, primary_key=True),
    Column("open_since", Instant),
    Column("next_probe_at", Instant),
    Column("detail", Text),
)

pauses = Table(
    "pauses",
    metadata,
    Column("scope", Text, nullable=False),  # stage | agent | account
    Column("name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Instant, nullable=False),
    PrimaryKeyConstraint("scope", "name"),
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

tasks = Table(
    "tasks",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # close_abnormal | railway_refund
    Column("order_no", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("taken_by", Text),
    Column("taken_at", Instant),
    Column("closed_by", Text),
    Column("closed_at", Instant),
    Column("resolution", Text),
    Column("evidence", Text),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Json, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
