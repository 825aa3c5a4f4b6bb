"""The tables of the work itself; all tables are importable from here.

Business keys are text: `order_no`, `order_no:generation` (a purchase), `order_no:generation:n` (an attempt),
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
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pipeline.store.tables_agents import (
    agent_accounts,
    agent_old_keys,
    agents,
    callback_calls,
    callbacks,
    railway_accounts,
    refused_credentials,
)
from pipeline.store.tables_audit import audit_runs
from pipeline.store.tables_bills import bill_breaks, bill_lines, bills
from pipeline.store.tables_common import metadata, where
from pipeline.store.tables_console import announcements, one_time_links, sessions, sign_in_tries, users
from pipeline.store.tables_control import breakers, meta, paces, pauses, workers
from pipeline.store.tables_desk import replay_items, replay_jobs
from pipeline.store.tables_ledger import ledger_balances, ledger_entries, ledger_postings
from pipeline.store.tables_messages import (
    archived_stories,
    audit_log,
    dead_letters,
    history,
    railway_refunds,
    requests,
    results,
    suspects,
    tasks,
)
from pipeline.store.tables_traces import traces
from pipeline.store.types import Instant, Json

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
    # What people search by, out of `details`; the marks stand for texts that are stored there only (marks.py).
    Column("ordered_at", Instant),
    Column("train_no", Text),
    Column("from_station", Text),
    Column("to_station", Text),
    Column("appointment", Text),
    Column("contact_mark", Integer),
    Column("phone_mark", Integer),
    Column("insurance_mark", Integer),
    Column("erased_at", Instant),  # when ID numbers and phones were taken out of `details`
    CheckConstraint("frozen_fen >= 0 AND frozen_fen <= fare_fen", name="orders_frozen_within_fare"),
)
Index("orders_by_agent", orders.c.agent, orders.c.created_at)
# Written at its end only, and whole: a search reads it from the newest order on and no row that does not fit.
Index(
    "orders_by_time",
    orders.c.created_at,
    orders.c.order_no,
    orders.c.agent,
    orders.c.departure_at,
    orders.c.ordered_at,
    orders.c.train_no,
    orders.c.from_station,
    orders.c.to_station,
    orders.c.appointment,
    orders.c.contact_mark,
    orders.c.phone_mark,
    orders.c.insurance_mark,
)
# What QueryOrders lists. Money that is still frozen is what tells an order that may yet be ticketed from all that ever were.
MAY_WAIT = "closure IS NULL AND (frozen_fen > 0 OR fare_fen = 0)"
REFUND_IS_OPEN = "refund_requested_at IS NOT NULL AND refund_closed_at IS NULL"
Index("orders_that_may_wait", orders.c.agent, orders.c.created_at, **where(MAY_WAIT))
Index("orders_to_erase", orders.c.created_at, **where("erased_at IS NULL"))
Index("orders_with_open_refund", orders.c.agent, orders.c.refund_requested_at, **where(REFUND_IS_OPEN))
IS_CLOSED = "closure IS NOT NULL"
Index("orders_closed", orders.c.closure, orders.c.created_at, orders.c.order_no, **where(IS_CLOSED))

# The ticket numbers of each CONFIRM, as many as there are.
ticket_numbers = Table(
    "ticket_numbers",
    metadata,
    Column("ticket_no", Text, nullable=False),
    Column("order_no", Text, nullable=False),
    PrimaryKeyConstraint("ticket_no", "order_no"),
)

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
    # Set with the attempt's submitted_at. It stands here too, because whoever ends the purchase is stopped by a guard on
    # the row it waits for: after the wait PostgreSQL reads that row anew, but any other table as of before.
    Column("intent_at", Instant),
    Column("concluded_at", Instant),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("order_no", "generation"),
)
# By columns that change once: a predicate by `state` would have every step of a purchase written to every index.
Index("purchases_concluded", purchases.c.concluded_at, **where("concluded_at IS NOT NULL"))
# Which 12306 accounts an agent has used: neither column ever changes.
Index("purchases_by_account", purchases.c.agent, purchases.c.login)
TO_STOP = "intent_at IS NULL AND concluded_at IS NULL"
Index("purchases_to_stop", purchases.c.stop_at, **where(TO_STOP))
# Only purchases that failed have a reason: nothing is written to these for those that go well.
HAS_REASON = "reason IS NOT NULL"
Index("purchases_by_reason", purchases.c.reason, purchases.c.order_no, **where(HAS_REASON))
Index("purchases_failed_by_hold", purchases.c.held_order_no, **where(HAS_REASON))

attempts = Table(
    "attempts",
    metadata,
    Column("id", Text, primary_key=True),  # `purchase_id:n`: by it no purchase has two of one number
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
    Column("tickets", Json),  # as 12306 lists them, of an attempt that paid
    CheckConstraint(
        "submitted_at IS NULL OR (held_order_no IS NOT NULL AND amount_fen IS NOT NULL AND amount_fen > 0 AND trade_no IS NOT NULL"
        " AND final_after IS NOT NULL)",
        name="attempts_intent_is_complete",
    ),
)

NOT_PROVEN_UNPAID = "(proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))"
HAS_ITS_HOLD = (
    f"held_order_no IS NOT NULL AND (concluded_at IS NULL OR (submitted_at IS NOT NULL AND {NOT_PROVEN_UNPAID}))"
)
Index("attempts_in_doubt", attempts.c.submitted_at, **where("submitted_at IS NOT NULL AND concluded_at IS NULL"))
Index("attempts_by_order", attempts.c.order_no)
# What was submitted, in time: reports and bills go through it by day, and bills name a payment by its trade.
Index("attempts_submitted", attempts.c.submitted_at, attempts.c.id, **where("submitted_at IS NOT NULL"))
Index("attempts_by_trade", attempts.c.trade_no, **where("trade_no IS NOT NULL"))
Index("attempts_one_open", attempts.c.purchase_id, unique=True, **where("concluded_at IS NULL"))
Index("attempts_one_submit", attempts.c.purchase_id, unique=True, **where("submitted_at IS NOT NULL"))
Index(
    "attempts_one_per_order",
    attempts.c.order_no,
    unique=True,
    **where(f"submitted_at IS NOT NULL AND {NOT_PROVEN_UNPAID}"),
)
Index(
    "attempts_one_per_hold",
    attempts.c.held_order_no,
    unique=True,
    **where(HAS_ITS_HOLD),
)

work = Table(
    "work",
    metadata,
    Column("key", Text, primary_key=True),  # order_no:generation:step; by it an order's rows are found, too
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
Index(
    "work_leased",
    work.c.lease_owner,
    **where("lease_owner IS NOT NULL"),
)
Index(
    "work_waiting",
    work.c.waits_for,
    **where("waits_for IS NOT NULL"),
)

__all__ = [
    "agent_accounts",
    "agent_old_keys",
    "agents",
    "announcements",
    "archived_stories",
    "attempts",
    "audit_log",
    "audit_runs",
    "bill_breaks",
    "bill_lines",
    "bills",
    "breakers",
    "callback_calls",
    "callbacks",
    "dead_letters",
    "history",
    "ledger_balances",
    "ledger_entries",
    "ledger_postings",
    "meta",
    "metadata",
    "one_time_links",
    "orders",
    "paces",
    "pauses",
    "purchases",
    "railway_accounts",
    "railway_refunds",
    "refused_credentials",
    "replay_items",
    "replay_jobs",
    "requests",
    "results",
    "sessions",
    "sign_in_tries",
    "suspects",
    "tasks",
    "ticket_numbers",
    "traces",
    "users",
    "work",
    "workers",
]
