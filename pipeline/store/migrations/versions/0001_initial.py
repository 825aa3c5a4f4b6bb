"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # long: the tables of one version, one after the other, as they were made
    op.create_table(
        "agent_accounts",
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("password_sealed", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "login", name=op.f("agent_accounts_pkey")),
    )
    op.create_table(
        "agents",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("merchant_key_sealed", sa.Text(), nullable=False),
        sa.Column("webhook_secret_sealed", sa.Text(), nullable=False),
        sa.Column("password_sealed", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("agents_pkey")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("held_order_no", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("concluded_at", sa.BigInteger(), nullable=True),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("debited_fen", sa.BigInteger(), nullable=True),
        sa.Column("trade_no", sa.Text(), nullable=True),
        sa.Column("final_after", sa.BigInteger(), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("end_detail", sa.Text(), nullable=True),
        sa.Column("questions", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("outage_us", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "submitted_at IS NULL OR (held_order_no IS NOT NULL AND amount_fen IS NOT NULL AND amount_fen > 0 AND trade_no IS NOT NULL AND final_after IS NOT NULL)",
            name="attempts_intent_is_complete",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("attempts_pkey")),
        sa.UniqueConstraint("purchase_id", "n", name=op.f("attempts_purchase_id_n_key")),
    )
    op.create_index(
        "attempts_one_open",
        "attempts",
        ["purchase_id"],
        unique=True,
        postgresql_where=sa.text("concluded_at IS NULL"),
        sqlite_where=sa.text("concluded_at IS NULL"),
    )
    op.create_index(
        "attempts_one_per_hold",
        "attempts",
        ["held_order_no"],
        unique=True,
        postgresql_where=sa.text(
            "held_order_no IS NOT NULL AND (concluded_at IS NULL OR (submitted_at IS NOT NULL AND (proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))))"
        ),
        sqlite_where=sa.text(
            "held_order_no IS NOT NULL AND (concluded_at IS NULL OR (submitted_at IS NOT NULL AND (proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))))"
        ),
    )
    op.create_index(
        "attempts_one_per_order",
        "attempts",
        ["order_no"],
        unique=True,
        postgresql_where=sa.text(
            "submitted_at IS NOT NULL AND (proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))"
        ),
        sqlite_where=sa.text(
            "submitted_at IS NOT NULL AND (proof IS NULL OR proof NOT IN ('refused','not_sent','no_payment'))"
        ),
    )
    op.create_index(
        "attempts_one_submit",
        "attempts",
        ["purchase_id"],
        unique=True,
        postgresql_where=sa.text("submitted_at IS NOT NULL"),
        sqlite_where=sa.text("submitted_at IS NOT NULL"),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
    )
    op.create_table(
        "breakers",
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("open_since", sa.BigInteger(), nullable=True),
        sa.Column("next_probe_at", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("upstream", name=op.f("breakers_pkey")),
    )
    op.create_table(
        "callback_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("callback_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("callback_calls_pkey")),
    )
    op.create_index("callback_calls_by_callback", "callback_calls", ["callback_id"], unique=False)
    op.create_table(
        "callbacks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("pay_status", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("callbacks_pkey")),
        sa.UniqueConstraint("webhook_id", name=op.f("callbacks_webhook_id_key")),
    )
    op.create_index("callbacks_by_order", "callbacks", ["order_no"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=True),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("replays", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("body_sealed", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("wake_at", sa.BigInteger(), nullable=True),
        sa.Column("wakes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letters_pkey")),
        sa.UniqueConstraint("uid", name=op.f("dead_letters_uid_key")),
    )
    op.create_index(
        "dead_letters_one_open",
        "dead_letters",
        ["order_no", "generation", "stage"],
        unique=True,
        postgresql_where=sa.text("state = 'open' AND order_no IS NOT NULL"),
        sqlite_where=sa.text("state = 'open' AND order_no IS NOT NULL"),
    )
    op.create_index(
        "dead_letters_to_wake",
        "dead_letters",
        ["wake_at"],
        unique=False,
        postgresql_where=sa.text("wake_at IS NOT NULL"),
        sqlite_where=sa.text("wake_at IS NOT NULL"),
    )
    op.create_table(
        "history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("history_pkey")),
    )
    op.create_index("history_by_order", "history", ["order_no"], unique=False)
    op.create_table(
        "ledger_balances",
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("balance_fen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("balance_fen >= 0", name="ledger_balances_never_negative"),
        sa.PrimaryKeyConstraint("agent", "account", name=op.f("ledger_balances_pkey")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("posting_key", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_fen <> 0", name="ledger_entries_move_something"),
        sa.PrimaryKeyConstraint("id", name=op.f("ledger_entries_pkey")),
        sa.UniqueConstraint("posting_key", "account", name=op.f("ledger_entries_posting_key_account_key")),
    )
    op.create_table(
        "ledger_postings",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("ledger_postings_pkey")),
        sa.UniqueConstraint("key", name=op.f("ledger_postings_key_key")),
    )
    op.create_index("ledger_postings_by_order", "ledger_postings", ["order_no"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("meta_pkey")),
    )
    op.create_table(
        "orders",
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("joint_trip", sa.Boolean(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("fare_fen", sa.BigInteger(), nullable=False),
        sa.Column("frozen_fen", sa.BigInteger(), nullable=False),
        sa.Column("departure_at", sa.BigInteger(), nullable=False),
        sa.Column("paid_at", sa.BigInteger(), nullable=False),
        sa.Column("closure", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("close_detail", sa.Text(), nullable=True),
        sa.Column("refund_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("refund_closed_at", sa.BigInteger(), nullable=True),
        sa.Column("kept_confirm", sa.Text(), nullable=True),
        sa.Column("kept_refund", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("tickets", sa.Text(), nullable=True),
        sa.Column("generation", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("result_seq", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("frozen_fen >= 0 AND frozen_fen <= fare_fen", name="orders_frozen_within_fare"),
        sa.PrimaryKeyConstraint("order_no", name=op.f("orders_pkey")),
    )
    op.create_index("orders_by_agent", "orders", ["agent", "created_at"], unique=False)
    op.create_table(
        "paces",
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("next_slot_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upstream", name=op.f("paces_pkey")),
    )
    op.create_table(
        "pauses",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pauses_pkey")),
    )
    op.create_table(
        "purchases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("password_sealed", sa.Text(), nullable=True),
        sa.Column("held_order_no", sa.Text(), nullable=True),
        sa.Column("hold_deadline", sa.BigInteger(), nullable=True),
        sa.Column("stated_fen", sa.BigInteger(), nullable=True),
        sa.Column("paid_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unfrozen_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("partial_refund_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("stop_at", sa.BigInteger(), nullable=False),
        sa.Column("intent_at", sa.BigInteger(), nullable=True),
        sa.Column("concluded_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("purchases_pkey")),
        sa.UniqueConstraint("order_no", "generation", name=op.f("purchases_order_no_generation_key")),
    )
    op.create_index(
        "purchases_in_doubt",
        "purchases",
        ["order_no"],
        unique=False,
        postgresql_where=sa.text("state IN ('paying','in_doubt')"),
        sqlite_where=sa.text("state IN ('paying','in_doubt')"),
    )
    op.create_index(
        "purchases_to_stop",
        "purchases",
        ["stop_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('accepted','ready','paying')"),
        sqlite_where=sa.text("state IN ('accepted','ready','paying')"),
    )
    op.create_table(
        "railway_accounts",
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("refused_tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_key", sa.Text(), nullable=True),
        sa.Column("lease_end", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("login", name=op.f("railway_accounts_pkey")),
    )
    op.create_table(
        "railway_refunds",
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("posted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("order_no", "refund_id", name=op.f("railway_refunds_pkey")),
    )
    op.create_table(
        "refused_credentials",
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("login", "fingerprint", name=op.f("refused_credentials_pkey")),
    )
    op.create_table(
        "requests",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "id", name=op.f("requests_pkey")),
    )
    op.create_index(
        "requests_waiting",
        "requests",
        ["order_no"],
        unique=False,
        postgresql_where=sa.text("answer = 'waiting'"),
        sqlite_where=sa.text("answer = 'waiting'"),
    )
    op.create_table(
        "results",
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_key", name=op.f("results_pkey")),
    )
    op.create_index("results_by_order", "results", ["order_no"], unique=False)
    op.create_index(
        "results_unsent",
        "results",
        ["at"],
        unique=False,
        postgresql_where=sa.text("sent_at IS NULL"),
        sqlite_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "suspects",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("suspects_pkey")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("taken_by", sa.Text(), nullable=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("tasks_pkey")),
        sa.UniqueConstraint("uid", name=op.f("tasks_uid_key")),
    )
    op.create_table(
        "work",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("wakes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("urgency", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_end", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deaths", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.Column("first_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("work_pkey")),
    )
    op.create_index("work_by_order", "work", ["order_no"], unique=False)
    op.create_index(
        "work_leased",
        "work",
        ["lease_owner"],
        unique=False,
        postgresql_where=sa.text("lease_owner IS NOT NULL"),
        sqlite_where=sa.text("lease_owner IS NOT NULL"),
    )
    op.create_index("work_to_wake", "work", ["wake_at"], unique=False)
    op.create_index(
        "work_waiting",
        "work",
        ["waits_for"],
        unique=False,
        postgresql_where=sa.text("waits_for IS NOT NULL"),
        sqlite_where=sa.text("waits_for IS NOT NULL"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("alive_until", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
    )


# There is no way down: a database that holds money is restored from a backup, never stripped of a column.
