"""Who may do what in PostgreSQL: a role for every process, with no more than its work needs. Data; `daifu db roles` grants it.

The tables fall in groups by what a stranger could do with them. Four lines matter most: an intent (`attempts.submitted_at`) is
written by the payment worker alone; what is append-only can't be changed or deleted by any process; who may sign in, and as
what, is between the console and the operators; and what is sealed or personal is read column by column, by whom it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from pipeline.store.tables import metadata

STAGES: Final = ("intake", "credentials", "payment", "settlement", "notification")

#: Inserted and read, never changed, by nobody.
APPEND_ONLY: Final = frozenset({"audit_log", "callback_calls", "history", "ledger_entries", "ledger_postings"})
#: Written by `daifu archive` as the tables' owner, read by those who show stories.
ARCHIVE: Final = frozenset({"archived_stories"})
#: Who may sign in: the console and the operators' commands.
PEOPLE: Final = frozenset({"one_time_links", "sessions", "sign_in_tries", "users"})
#: Agents and their sealed passwords and keys: changed by people; each stage reads the columns that it works with.
AGENTS: Final = frozenset({"agent_accounts", "agent_old_keys", "agents"})
#: What operators started to replay.
JOBS: Final = frozenset({"replay_items", "replay_jobs"})
#: Found by the relay's audits.
AUDITS: Final = frozenset({"audit_runs"})
#: What people say and upload: announcements, an Alipay bill and where it differs from the books. Audited by the relay.
DESK: Final = frozenset({"announcements", "bill_breaks", "bill_lines", "bills"})
#: 12306 accounts, how fast and whether 12306 may be asked: the payment worker's; people unblock accounts.
RAILWAY: Final = frozenset({"breakers", "paces", "railway_accounts", "refused_credentials"})
#: Told to every process by people.
TOLD: Final = frozenset({"meta", "pauses"})
#: What every process that moves purchases adds to and takes from.
TAKEN: Final = frozenset({"suspects", "work", "workers"})
ATTEMPTS: Final = "attempts"
#: Of an attempt, what whoever must stop or close it changes. The intent's own columns are not among them.
CLOSES_ATTEMPT: Final = ("concluded_at", "debited_fen", "end_detail", "outage_us", "proof", "questions", "tickets")
VERSION: Final = "alembic_version"

#: What is personal or sealed in tables that every stage reads: who it is not for reads the other columns.
HIDDEN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"dead_letters": ("body_sealed",), "orders": ("details",), "purchases": ("password_sealed",)}
)
#: What was ordered, and for how much, is written once.
OF_AN_ORDER: Final = ("order_no", "agent", "details", "fare_fen", "created_at")

#: Never deleted by any process.
_KEPT: Final = (
    frozenset(metadata.tables)
    - APPEND_ONLY - PEOPLE - AGENTS - JOBS - AUDITS - ARCHIVE - DESK - RAILWAY - TOLD - TAKEN - {ATTEMPTS}
)  # fmt: skip

SELECT, INSERT, UPDATE, DELETE = "SELECT", "INSERT", "UPDATE", "DELETE"
#: Table -> privileges, a column list behind an UPDATE or SELECT where it is narrower.
Grants = Mapping[str, tuple[str, ...]]


def role_of(process: str) -> str:
    """The role of a stage, or of another process: `daifu_payment`, `daifu_relay`."""
    return f"daifu_{process}"


def _of(privilege: str, *columns: str) -> str:
    return f"{privilege} ({', '.join(columns)})"


def _but(privilege: str, table: str, *hidden: str) -> str:
    return _of(privilege, *(column.name for column in metadata.tables[table].c if column.name not in hidden))


def _all(tables: Iterable[str], *privileges: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(sorted(tables), privileges)


def _pipeline(*sees: str, pays: bool = False) -> dict[str, tuple[str, ...]]:
    """What every process that moves purchases needs. `sees`: tables of which it reads the hidden columns, too."""
    reads = {table: SELECT if table in sees else _but(SELECT, table, *hidden) for table, hidden in HIDDEN.items()}
    return {
        **_all(_KEPT - set(HIDDEN), SELECT, INSERT, UPDATE),
        **{table: (read, INSERT, UPDATE) for table, read in reads.items()},
        "orders": (reads["orders"], INSERT, _but(UPDATE, "orders", *OF_AN_ORDER)),
        **_all(TAKEN, SELECT, INSERT, UPDATE, DELETE),
        **_all(APPEND_ONLY, SELECT, INSERT),
        **_all(RAILWAY | TOLD | ARCHIVE | {VERSION}, SELECT),
        ATTEMPTS: (SELECT, INSERT, UPDATE) if pays else (SELECT, _of(UPDATE, *CLOSES_ATTEMPT)),
    }


_PEOPLE_TOO: Final = {
    **_pipeline(*HIDDEN),
    **_all(AGENTS, SELECT, INSERT, UPDATE, DELETE),
    "agents": (SELECT, INSERT, UPDATE),
    "railway_accounts": (SELECT, INSERT, UPDATE),
    "refused_credentials": (SELECT, DELETE),
    **_all(PEOPLE | JOBS | DESK | TOLD, SELECT, INSERT, UPDATE, DELETE),
    **_all(AUDITS, SELECT),
}

ROLES: Final[Mapping[str, Grants]] = MappingProxyType(
    {
        role_of("intake"): {**_pipeline("orders"), "agents": (_of(SELECT, "code"),)},
        role_of("credentials"): {
            **_pipeline("purchases"),
            "agents": (_of(SELECT, "code", "password_sealed"),),
            "agent_accounts": (_of(SELECT, "agent", "login", "password_sealed"),),
        },
        role_of("payment"): {
            **_pipeline("orders", "purchases", pays=True),
            **_all(RAILWAY, SELECT, INSERT, UPDATE),
            "meta": (SELECT, INSERT, _of(UPDATE, "value")),  # until when a breaker's time is left out of the windows
        },
        role_of("settlement"): _pipeline(),
        role_of("notification"): {
            **_pipeline(),
            "agents": (_of(SELECT, "code", "callback_url", "merchant_key_sealed", "webhook_secret_sealed"),),
            "agent_old_keys": (SELECT,),
        },
        # Its audits read all there is about money, it takes what is personal out of old orders, and its desk keeps what
        # nobody could decode. What it may not read is agents' keys and passwords, and who signs in.
        role_of("relay"): {
            **_pipeline(*HIDDEN),
            "orders": (SELECT, INSERT, _but(UPDATE, "orders", "order_no", "agent", "fare_fen", "created_at")),
            "meta": (SELECT, INSERT, UPDATE),
            "traces": (SELECT, INSERT, DELETE),
            "agents": (_of(SELECT, "code"),),
            **_all(JOBS | DESK, SELECT),
            **_all(AUDITS, SELECT, INSERT, DELETE),
        },
        role_of("serve"): _PEOPLE_TOO,
        role_of("operator"): _PEOPLE_TOO,
        # KEDA asks how much work a stage has, and sees nothing of whose it is.
        role_of("scaler"): {"work": (_of(SELECT, "stage", "due_at", "lease_owner", "lease_end"),)},
    }
)
