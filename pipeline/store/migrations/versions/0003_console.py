"""The people of the console, and an audit log that only grows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

SQLITE = (
    "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log"
    " BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
    "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log"
    " BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END",
)
POSTGRESQL = (
    "CREATE FUNCTION audit_log_stays() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$",
    "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_log_stays()",
)


def row_id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("audit_log") as audit_log:
        audit_log.add_column(sa.Column("role", sa.Text(), nullable=True))
        audit_log.add_column(sa.Column("origin", sa.Text(), nullable=True))
        audit_log.add_column(sa.Column("result", sa.Text(), server_default=sa.text("'done'"), nullable=False))
        audit_log.add_column(sa.Column("reason", sa.Text(), nullable=True))
    for column in ("actor", "subject", "action"):
        op.create_index(f"audit_log_by_{column}", "audit_log", [column, "id"], unique=False)
    people()
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def people() -> None:
    op.create_table(
        "users",
        sa.Column("id", row_id(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("password_set_at", sa.BigInteger(), nullable=True),
        sa.Column("totp_sealed", sa.Text(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(role = 'agent') = (agent IS NOT NULL)", name="users_agent_goes_with_its_role"),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("name", name=op.f("users_name_key")),
    )
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("enrol_sealed", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("sessions_pkey")),
    )
    op.create_index("sessions_by_user", "sessions", ["user_id"], unique=False)
    op.create_index("sessions_by_end", "sessions", ["ends_at"], unique=False)
    op.create_table(
        "sign_in_tries",
        sa.Column("id", row_id(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name_hash", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("sign_in_tries_pkey")),
    )
    op.create_index("sign_in_tries_by_name", "sign_in_tries", ["name_hash", "at"], unique=False)
    op.create_index("sign_in_tries_by_address", "sign_in_tries", ["address", "at"], unique=False)
    op.create_index("sign_in_tries_by_time", "sign_in_tries", ["at"], unique=False)
    op.create_table(
        "one_time_links",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("one_time_links_pkey")),
    )
    op.create_index("one_time_links_by_user", "one_time_links", ["user_id"], unique=False)
