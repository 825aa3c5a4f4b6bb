"""The roles of `rights.ROLES` as SQL: made where they are missing, given exactly what they shall have, nothing left from before."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import TextClause, text

from pipeline.secret import Secret
from pipeline.store.engine import Transaction
from pipeline.store.rights import ROLES, Grants

ROUNDS: Final = 4096  # PostgreSQL's own
SALT_BYTES: Final = 16


def statements() -> Iterator[str]:
    """For the tables' owner, who may create roles; doing it twice is doing it once. The roles have no password yet."""
    # Every role of the cluster may use PUBLIC's rights, and on PostgreSQL 14 PUBLIC may create tables.
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    for role, grants in ROLES.items():
        yield (
            f"DO $$ BEGIN CREATE ROLE {role} LOGIN NOINHERIT;"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
        yield f"GRANT USAGE ON SCHEMA public TO {role}"
        if any("INSERT" in privileges for privileges in grants.values()):
            yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
        yield from _grants(role, grants)


def _grants(role: str, grants: Grants) -> Iterator[str]:
    by_privileges: dict[tuple[str, ...], list[str]] = {}
    for table, privileges in grants.items():
        by_privileges.setdefault(privileges, []).append(table)
    for privileges, tables in by_privileges.items():
        yield f"GRANT {', '.join(privileges)} ON {', '.join(tables)} TO {role}"


def apply(tx: Transaction, passwords: Mapping[str, Secret]) -> None:
    """Make roles and rights, and set the passwords that are given, by role. Only as the tables' owner, on PostgreSQL."""
    for statement in statements():
        tx.run(_as_it_is(statement))
    for role, password in passwords.items():
        # A verifier: the password itself must not get into the server's log.
        tx.run(_as_it_is(f"ALTER ROLE {role} PASSWORD '{verifier(password)}'"))


def _as_it_is(statement: str) -> TextClause:
    """A colon is a colon, not the beginning of a parameter."""
    return text(statement.replace(":", r"\:"))


def script() -> str:
    """The same for a person with psql."""
    lines = [f"{statement};" for statement in statements()]
    return "\n".join(["-- Written by `daifu db roles --print`; run by the owner of daifu's tables.", *lines]) + "\n"


def verifier(password: Secret, salt: bytes | None = None) -> str:
    """A password as PostgreSQL stores it: SCRAM-SHA-256, RFC 5803."""
    salt = os.urandom(SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal_bytes(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    armoured = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${ROUNDS}:{armoured[0]}${armoured[1]}:{armoured[2]}"
