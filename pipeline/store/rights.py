"""Who may do what in PostgreSQL: a role for every process, with no more than its work needs. Data; `daifu db roles` grants it.

The tables fall in groups by what a stranger could do with them. Three lines matter most: an intent (`attempts.submitted_at`) is
written by the payment worker alone; what is append-only can't be changed or deleted by any process; who may sign in, and as
what, is between the console and the operators.
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
#: Agents and their sealed passwords and keys: changed by people, read by those who log in, sign or call.
AGENTS: Final = frozenset({"agent_accounts", "agents"})
#: What operators started to replay.
JOBS: Final = frozenset({"replay_items", "replay_jobs"})
#: Found by the relay's audits.
AUDITS: Final = frozenset({"audit_runs"})
#: What people say and upload: announcements, an Alipay bill and where it differs from the books. Audited by the relay.
DESK: Final = frozenset({"announcements", "bill_breaks", "bill_lines", "bills"})
ATTEMPTS: Final = "attempts"
#: Of an attempt, what whoever must stop or close it changes. The intent's own columns are not among them.
CLOSES_ATTEMPT: Final = ("concluded_at", "debited_fen", "end_detail", "outage_us", "proof", "questions", "tickets")
VERSION: Final = "alembic_version"

_FLOW: Final = frozenset(metadata.tables) - APPEND_ONLY - PEOPLE - AGENTS - JOBS - AUDITS - ARCHIVE - DESK - {ATTEMPTS}

SELECT, INSERT, UPDATE, DELETE = "SELECT", "INSERT", "UPDATE", "DELETE"
Grants = Mapping[
    str, tuple[str, ...]
]  # table -> privileges, a column list behind an UPDATE or SELECT where it is narrower


def role_of(process: str) -> str:
    """The role of a stage, or of another process: `daifu_payment`, `daifu_relay`."""
    return f"daifu_{process}"


def _pipeline(*, pays: bool = False) -> dict[str, tuple[str, ...]]:
    """What every process that moves purchases needs."""
    closes = f"{UPDATE} ({', '.join(CLOSES_ATTEMPT)})"
    return {
        **_all(_FLOW, SELECT, INSERT, UPDATE, DELETE),
        **_all(APPEND_ONLY, SELECT, INSERT),
        ATTEMPTS: (SELECT, INSERT, UPDATE) if pays else (SELECT, closes),
        **_all(ARCHIVE | {VERSION}, SELECT),
    }


def _all(tables: Iterable[str], *privileges: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(sorted(tables), privileges)


_PEOPLE_TOO: Final = {
    **_pipeline(),
    **_all(AGENTS, SELECT, INSERT, UPDATE),
    **_all(PEOPLE | JOBS | DESK, SELECT, INSERT, UPDATE, DELETE),
    **_all(AUDITS, SELECT),
}

ROLES: Final[Mapping[str, Grants]] = MappingProxyType(
    {
        role_of("intake"): {**_pipeline(), **_all(AGENTS, SELECT)},
        role_of("credentials"): {**_pipeline(), **_all(AGENTS, SELECT)},
        role_of("payment"): {**_pipeline(pays=True), **_all(AGENTS, SELECT)},
        role_of("settlement"): _pipeline(),
        role_of("notification"): {**_pipeline(), **_all(AGENTS, SELECT)},
        # Its audits read all there is about money; what it may not read is who signs in.
        role_of("relay"): {
            **_pipeline(),
            **_all(AGENTS | JOBS | DESK, SELECT),
            **_all(AUDITS, SELECT, INSERT, DELETE),
        },
        role_of("serve"): _PEOPLE_TOO,
        role_of("operator"): _PEOPLE_TOO,
        # KEDA asks how much work a stage has, and sees nothing of whose it is.
        role_of("scaler"): {"work": (f"{SELECT} (stage, due_at, lease_owner, lease_end)",)},
    }
)
