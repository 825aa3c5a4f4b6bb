"""Every process's role on a real PostgreSQL tries what it may not. That each may do its work is shown by every test that starts
processes (`pipeline_house`): they run under these roles."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pipeline.clock import WallClock
from pipeline.operations_callback_trial import Trial, Verdict, load_callee, record_trial
from pipeline.ports import CallbackAnswer
from pipeline.secret import Secret
from pipeline.store import agents, grants, migrate
from pipeline.store.engine import Transaction, open_store
from pipeline.store.rights import ROLES

STAGES = ("intake", "credentials", "payment", "settlement", "notification")
PROCESSES = (*STAGES, "relay", "serve", "operator", "scaler")
WORKERS = (*STAGES, "relay")

# What nobody's daily work is: (who tries, the statement). `nobody` is every role but those named.
FOR_NOBODY = (
    "UPDATE ledger_entries SET amount_fen = amount_fen",
    "DELETE FROM ledger_postings",
    "UPDATE history SET actor = 'x'",
    "DELETE FROM audit_log",
    "TRUNCATE work",
    "ALTER TABLE attempts DROP COLUMN fence",
    "DROP INDEX attempts_one_submit",
    "CREATE TABLE mine (a int)",
    "UPDATE alembic_version SET version_num = '0001'",
    "CREATE ROLE another SUPERUSER",
    "DELETE FROM orders",
    "DELETE FROM purchases",
    "DELETE FROM attempts",
    "DELETE FROM callbacks",
    "DELETE FROM dead_letters",
    "DELETE FROM tasks",
    "DELETE FROM agents",
    "UPDATE orders SET fare_fen = 1",
    "UPDATE orders SET agent = 'mine'",
)
FOR_OTHERS = (
    ("an intent", {"payment"}, "UPDATE attempts SET submitted_at = 1"),
    ("an intent's amount", {"payment"}, "UPDATE attempts SET amount_fen = 1"),
    ("an attempt", {"payment"}, "INSERT INTO attempts (id) SELECT id FROM attempts"),
    ("who signs in", {"serve", "operator"}, "SELECT password_hash, totp_sealed FROM users"),
    ("a session", {"serve", "operator"}, "SELECT * FROM sessions"),
    ("a way in", {"serve", "operator"}, "INSERT INTO one_time_links SELECT * FROM one_time_links"),
    ("an agent's address", {"serve", "operator"}, "UPDATE agents SET callback_url = callback_url"),
    ("an agent's merchant key", {"notification", "serve", "operator"}, "SELECT merchant_key_sealed FROM agents"),
    ("an agent's webhook secret", {"notification", "serve", "operator"}, "SELECT webhook_secret_sealed FROM agents"),
    ("an agent's replaced keys", {"notification", "serve", "operator"}, "SELECT key_sealed FROM agent_old_keys"),
    ("another key for an agent", {"serve", "operator"}, "INSERT INTO agent_old_keys SELECT * FROM agent_old_keys"),
    ("where an agent is told", {"notification", "serve", "operator"}, "SELECT callback_url FROM agents"),
    ("an agent's password", {"credentials", "serve", "operator"}, "SELECT password_sealed FROM agents"),
    ("the hash of an agent's password", {"serve", "operator"}, "SELECT password_hash FROM agents"),
    ("an account's password", {"credentials", "serve", "operator"}, "SELECT password_sealed FROM agent_accounts"),
    ("an account without a password of its own", {"serve", "operator"}, "DELETE FROM agent_accounts WHERE false"),
    ("who the agents are", {"intake", "credentials", "notification", "relay", "serve", "operator"},
     "SELECT code FROM agents"),
    ("a purchase's password", {"credentials", "payment", "relay", "serve", "operator"},
     "SELECT password_sealed FROM purchases"),
    ("who travels", {"intake", "payment", "relay", "serve", "operator"}, "SELECT details FROM orders"),
    ("other travellers", {"relay"}, "UPDATE orders SET details = details"),
    ("what nobody could decode", {"relay", "serve", "operator"}, "SELECT body_sealed FROM dead_letters"),
    ("a refused password", {"payment"}, "INSERT INTO refused_credentials SELECT * FROM refused_credentials"),
    ("an account's lease", {"payment", "serve", "operator"}, "UPDATE railway_accounts SET lease_owner = NULL"),
    ("a breaker", {"payment"}, "UPDATE breakers SET open_since = NULL"),
    ("until when an outage is counted", {"payment", "relay", "serve", "operator"},
     "INSERT INTO meta (name, value) VALUES ('outage_counted_until', '') ON CONFLICT (name) DO UPDATE SET value = ''"),
    ("a pause", {"serve", "operator"}, "DELETE FROM pauses"),
    ("a fact about this installation", {"serve", "operator"}, "DELETE FROM meta"),
    ("an audit's findings", {"relay"}, "DELETE FROM audit_runs"),
    ("an order", set(PROCESSES) - {"scaler"}, "SELECT order_no, generation, frozen_fen FROM orders"),
    ("a work row", set(PROCESSES) - {"scaler"}, "DELETE FROM work WHERE false"),
    ("how much work there is", set(PROCESSES),
     "SELECT count(*) FROM work WHERE stage = 'payment' AND lease_owner IS NOT NULL"),
)  # fmt: skip


@pytest.fixture(scope="module")
def owner(module_database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    migrate.upgrade(module_database)
    store = open_store(module_database, WallClock(), pool_size=1)
    store.write(lambda tx: grants.apply(tx, {}))
    store.write(lambda tx: grants.apply(tx, {}))  # twice is once
    store.close()
    dsn = make_url(module_database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as connection:
        yield connection


def allowed(connection: psycopg.Connection[tuple[object, ...]], role: str, statement: str) -> bool:
    """Whether the role may; whatever the statement does is undone."""
    try:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        connection.execute(statement)
    except errors.InsufficientPrivilege:
        return False
    except errors.RaiseException:  # a trigger of the table says no for itself
        return False
    finally:
        connection.rollback()
    return True


def test_every_role_is_tried() -> None:
    assert {f"daifu_{process}" for process in PROCESSES} == set(ROLES)


@pytest.mark.parametrize("statement", FOR_NOBODY)
def test_no_process_rewrites_what_was_or_changes_a_table(
    owner: psycopg.Connection[tuple[object, ...]], statement: str
) -> None:
    assert [role for role in ROLES if allowed(owner, role, statement)] == []


@pytest.mark.parametrize(("what", "who", "statement"), FOR_OTHERS, ids=[it[0] for it in FOR_OTHERS])
def test_a_process_does_its_own_part_alone(
    owner: psycopg.Connection[tuple[object, ...]], what: str, who: set[str], statement: str
) -> None:
    assert {process for process in PROCESSES if allowed(owner, f"daifu_{process}", statement)} == who, what


def test_notification_tries_an_agents_address_with_its_own_rights(module_database: str, owner: object) -> None:
    """It alone stands where an agent is reached: there `daifu callbacks test` and `daifu doctor` are typed."""
    store = open_store(module_database, WallClock(), pool_size=1)
    with store.engine.connect() as connection:
        tx = Transaction(connection)
        agents.add(tx, "xcslw", "https://agent.example/", "merchant", "webhook")
        tx.run(text("SET LOCAL ROLE daifu_notification"))
        assert agents.addresses(tx) == {"xcslw": "https://agent.example/"}
        assert load_callee(tx, "xcslw").merchant[0].sealed == "merchant"
        trial = Trial("https://agent.example/", CallbackAnswer(False, 500, ""), Verdict.NOT_AS_AGREED)
        record_trial(tx, "xcslw", trial, "human:mei")
        connection.rollback()
    store.close()


def test_every_role_gets_its_password_as_a_verifier(module_database: str, owner: object) -> None:
    """PostgreSQL takes the text for a verifier, not for a password. Undone: roles belong to the whole server."""
    store = open_store(module_database, WallClock(), pool_size=1)
    with store.engine.connect() as connection:
        tx = Transaction(connection)
        grants.apply(tx, {role: Secret(f"of {role}") for role in ROLES})
        query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'daifu#_%' ESCAPE '#'"
        stored = {row.rolname: row.rolpassword for row in tx.rows(text(query))}
        connection.rollback()
    store.close()
    for role in ROLES:
        salt = base64.b64decode(stored[role].split(":")[1].split("$")[0])
        assert stored[role] == grants.verifier(Secret(f"of {role}"), salt)
