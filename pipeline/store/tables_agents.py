"""Agents, their 12306 accounts and what they are told."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from pipeline.store.tables_common import RowId, metadata, where
from pipeline.store.types import Instant

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

# Keys that were replaced and are still good for a while.
agent_old_keys = Table(
    "agent_old_keys",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("agent", Text, nullable=False),
    Column("kind", Text, nullable=False),  # merchant | webhook
    Column("key_sealed", Text, nullable=False),
    Column("ends_at", Instant, nullable=False),
)
Index("agent_old_keys_by_agent", agent_old_keys.c.agent, agent_old_keys.c.kind)

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
IS_PENDING = "state = 'pending'"
Index("callbacks_pending", callbacks.c.order_no, **where(IS_PENDING))

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
