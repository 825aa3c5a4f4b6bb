"""The people of the console: users, their sessions, tries to sign in, one-time links, and what they are all told.

And what keeps the audit log as it is.
"""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Boolean, CheckConstraint, Column, Index, Table, Text, event, text

from pipeline.store.tables_common import RowId, metadata
from pipeline.store.tables_messages import audit_log
from pipeline.store.types import Instant

users = Table(
    "users",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),  # lower case
    Column("role", Text, nullable=False),  # agent | operator | supervisor
    Column("agent", Text),  # whose orders a user of the role agent sees
    Column("password_hash", Text),  # argon2id; NULL until the one-time link was used
    Column("password_set_at", Instant),
    Column("totp_sealed", Text),  # under the services' key ring; NULL until enrolled
    Column("totp_step", BigInteger),  # the last step of 30 s whose code was used
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("signed_in_at", Instant),
    # Added by its agent's main account, which staff adds; a sub-account adds nobody.
    Column("sub", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("(role = 'agent') = (agent IS NOT NULL)", name="users_agent_goes_with_its_role"),
    CheckConstraint("role = 'agent' OR NOT sub", name="users_sub_accounts_are_agents"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", Text, primary_key=True),  # SHA-256 of the cookie; the cookie itself is nowhere
    Column("user_id", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),  # code | enrol | full
    Column("enrol_sealed", Text),  # the TOTP secret on offer while stage is enrol
    Column("address", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
)
Index("sessions_by_user", sessions.c.user_id)
Index("sessions_by_end", sessions.c.ends_at)

sign_in_tries = Table(
    "sign_in_tries",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),  # password | code | payment (原密码 of 代付设置)
    Column("name_hash", Text, nullable=False),  # what was typed may have been a password
    Column("address", Text, nullable=False),
    Column("result", Text, nullable=False),  # tried (counts as failed) | passed | refused (was not looked at)
)
Index("sign_in_tries_by_name", sign_in_tries.c.name_hash, sign_in_tries.c.at)
Index("sign_in_tries_by_address", sign_in_tries.c.address, sign_in_tries.c.at)
Index("sign_in_tries_by_time", sign_in_tries.c.at)

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_id", BigInteger),  # NULL: makes the first supervisor
    Column("created_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("used_at", Instant),
)
Index("one_time_links_by_user", one_time_links.c.user_id)

announcements = Table(
    "announcements",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("published_at", Instant, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("withdrawn_at", Instant),
    Column("withdrawn_by", Text),
)

# The audit log is append-only, whoever asks: the database refuses. A migration makes the same triggers.
APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log"
        " BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
        "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log"
        " BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_log_stays() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$",
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_stays()",
    ),
}
for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]  # SQLAlchemy left its constructor untyped
        event.listen(audit_log, "after_create", _ddl.execute_if(dialect=_dialect))
