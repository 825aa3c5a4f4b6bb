"""Signing in: password, then for operators and supervisors a TOTP code. Every try is counted before it is looked at.

A session is a random 256-bit cookie; the database has its SHA-256. A new one is made at every step, so that what was
known before signing in is worth nothing after it.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyotp

from pipeline import tries
from pipeline.errors import DaifuError
from pipeline.operations_errors import Refused
from pipeline.operations_users import TOKEN_BYTES, Role, actor_of, digest_of, name_digest
from pipeline.passwords import Passwords
from pipeline.secret import Secret
from pipeline.store import history, sessions, sign_in_tries, users
from pipeline.store.engine import Presence, Row, Store, Transaction, present
from pipeline.store.queries import shown
from pipeline.vault import KeyRing

T = TypeVar("T")

IDLE_S, LASTS_S = 3600.0, 12 * 3600.0
UNFINISHED_S = 600.0  # between password and code
FRESH_S = 600.0  # what is hard to undo is done within this long after a proof of who it is
TOUCH_S = 60.0  # a session's last use is known to the minute
STEP_S = 30  # RFC 6238
ISSUER = "daifu"
SYSTEM = "system:console"


class SignInRefused(DaifuError):
    """Wrong name, password or code; which of them is not said."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in. `stage` is full, or code or enrol while a code is still missing; `fresh`: proven within FRESH_S."""

    token: Secret
    user_id: int
    name: str
    role: Role
    agent: str | None
    stage: str
    enrol_sealed: str | None = None
    totp_sealed: str | None = None
    fresh: bool = True

    @property
    def actor(self) -> str:
        return actor_of(self.name)


@dataclass(frozen=True, slots=True)
class Place:
    """One session as its owner sees it; times in RFC 3339. `proven_at`: signed in, or confirmed since."""

    address: str
    proven_at: str | None
    seen_at: str | None
    here: bool


class SignIn:
    """Opens, finds and ends sessions. Its methods block: they belong on a thread."""

    def __init__(self, store: Store, keys: KeyRing) -> None:
        self._store, self._keys = store, keys
        self.passwords = Passwords()

    def by_password(self, name: str, password: Secret, address: str) -> Session:
        """Raises SignInRefused, TooManyTries."""
        name = name.strip().lower()
        attempt = self._count("password", name, address)
        row = self._store.read(lambda tx: users.by_name(tx, name))
        fits = self.passwords.fits(None if row is None or row.disabled_at else row.password_hash, password)
        if row is None or not fits:
            self._write(address, None, lambda tx: _refuse(tx, "?" if row is None else row.name, "password"))
            raise SignInRefused
        return self._write(address, row.role, lambda tx: self._open(tx, row, address, attempt))

    def by_link(self, name: str, address: str) -> Session:
        """The user has just set a password by a one-time link."""

        def work(tx: Transaction) -> Session:
            row = users.by_name(tx, name)
            assert row is not None  # noqa: S101 - it was found in the transaction before
            tx.presence = Presence(row.role, address)
            return self._open(tx, row, address, None)

        return self._write(address, None, work)

    def by_code(self, session: Session, code: str, address: str) -> Session:
        """The second step, or the proof that a new device has the secret. Raises SignInRefused, TooManyTries, VaultError."""
        attempt = self._count("code", session.name, address)
        sealed = session.enrol_sealed if session.stage == "enrol" else session.totp_sealed
        step = None if sealed is None else self._step_of(self._keys.open(sealed), code)

        def work(tx: Transaction) -> Session | None:
            if step is None or not sessions.close(tx, digest_of(session.token)):
                return None
            if not self._take(tx, session, step, sealed):
                return None
            sign_in_tries.passed(tx, attempt)
            users.signed_in(tx, session.user_id)
            history.audit(tx, session.actor, "session.sign_in", session.name)
            return _full(tx, session, address)

        opened = self._write(address, session.role, work)
        if opened is None:
            self._write(address, None, lambda tx: _refuse(tx, session.name, "code"))
            raise SignInRefused
        return opened

    def check_password(self, session: Session, password: Secret, address: str) -> None:
        """That it is the same person still: before the password is changed. Raises Refused, TooManyTries."""
        attempt = self._count("password", session.name, address)
        row = self._store.read(lambda tx: users.by_id(tx, session.user_id))
        if not self.passwords.fits(None if row is None else row.password_hash, password):
            self._write(address, session.role, lambda tx: _refuse(tx, session.name, "password", "session.prove"))
            raise Refused("wrong_password", "原密码不对")
        self._store.write(lambda tx: sign_in_tries.passed(tx, attempt))

    def prove(self, session: Session, proof: Secret, address: str) -> Session:
        """That it is the same person still: by a code or, who has none, by the password. Another cookie for the same session.

        Raises SignInRefused, TooManyTries, VaultError.
        """
        by_password = session.role is Role.AGENT
        attempt = self._count("password" if by_password else "code", session.name, address)
        row = self._store.read(lambda tx: users.by_id(tx, session.user_id))
        step: int | None = None
        if by_password:
            fits = self.passwords.fits(None if row is None else row.password_hash, proof)
        else:
            sealed = None if row is None else row.totp_sealed
            step = None if sealed is None else self._step_of(self._keys.open(sealed), proof.reveal())
            fits = step is not None
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES))

        def work(tx: Transaction) -> bool:
            if not fits or (step is not None and not users.use_step(tx, session.user_id, step)):
                return False
            if not sessions.renew(tx, digest_of(session.token), digest_of(token)):
                return False
            sign_in_tries.passed(tx, attempt)
            history.audit(tx, session.actor, "session.prove", session.name)
            return True

        if not self._write(address, session.role, work):
            self._write(
                address,
                session.role,
                lambda tx: _refuse(tx, session.name, "password" if by_password else "code", "session.prove"),
            )
            raise SignInRefused
        return replace(session, token=token, fresh=True)

    def find(self, token: Secret, *, background: bool = False) -> Session | None:
        """The session of a cookie, while it lasts. `background`: the browser asked by itself, nobody is known to be there."""
        id_hash = digest_of(token)
        row = self._store.read(lambda tx: sessions.find(tx, id_hash, IDLE_S, TOUCH_S, FRESH_S))
        if row is None:
            return None
        if row.stale and not background:
            self._store.write(lambda tx: sessions.touch(tx, id_hash))
        person = row.user_id, row.name, Role(row.role), row.agent
        return Session(token, *person, row.stage, row.enrol_sealed, row.totp_sealed, bool(row.fresh))

    def places_of(self, session: Session) -> list[Place]:
        """Where this person is signed in, the place used last first."""
        mine = digest_of(session.token)
        rows = self._store.read(lambda tx: sessions.of_user(tx, session.user_id, IDLE_S))
        return [Place(row.address, shown(row.created_at), shown(row.seen_at), row.id_hash == mine) for row in rows]

    def sign_out(self, session: Session, address: str) -> None:
        def work(tx: Transaction) -> None:
            if sessions.close(tx, digest_of(session.token)):
                history.audit(tx, session.actor, "session.sign_out", session.name)

        self._write(address, session.role, work)

    def enrolment(self, session: Session) -> pyotp.TOTP:
        """What an authenticator is given while a device is enrolled. Raises VaultError."""
        secret = self._keys.open(session.enrol_sealed or "")
        return pyotp.TOTP(secret.reveal(), name=session.name, issuer=ISSUER)

    def _count(self, kind: str, name: str, address: str) -> int:
        limits = tries.CODE if kind == "code" else tries.PASSWORD
        return tries.begin(self._store, kind, name_digest(name), address, limits)

    def _write(self, address: str, role: str | None, work: Callable[[Transaction], T]) -> T:
        return self._store.write(present(Presence(role or "system", address), work)).value

    def _open(self, tx: Transaction, row: Row[Any], address: str, attempt: int | None) -> Session:
        if attempt is not None:
            sign_in_tries.passed(tx, attempt)
        role = Role(row.role)
        stage = "full" if role is Role.AGENT else "enrol" if row.totp_sealed is None else "code"
        sealed = self._keys.seal(pyotp.random_base32()) if stage == "enrol" else None
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
        lasts_s = LASTS_S if stage == "full" else UNFINISHED_S
        sessions.open_session(tx, digest_of(token), row.id, stage, address, lasts_s, sealed)
        if stage == "full":
            users.signed_in(tx, row.id)
            history.audit(tx, actor_of(row.name), "session.sign_in", row.name)
        return Session(token, row.id, row.name, role, row.agent, stage, sealed, row.totp_sealed)

    def _step_of(self, secret: Secret, code: str) -> int | None:
        """The step of 30 s whose code this is, one before and one after included (RFC 6238 section 5.2)."""
        totp, now = pyotp.TOTP(secret.reveal()), int(self._store.clock.now().timestamp()) // STEP_S
        given = "".join(code.split()).encode("utf-8", "surrogatepass")
        for step in (now, now - 1, now + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), given):
                return step
        return None

    def _take(self, tx: Transaction, session: Session, step: int, sealed: str | None) -> bool:
        if session.stage == "code":
            return users.use_step(tx, session.user_id, step)
        users.set_totp(tx, session.user_id, sealed, step)
        history.audit(tx, session.actor, "users.enrol_totp", session.name)
        return True


def _full(tx: Transaction, session: Session, address: str) -> Session:
    """A full session in place of the unfinished one."""
    token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
    sessions.open_session(tx, digest_of(token), session.user_id, "full", address, LASTS_S, None)
    return Session(token, session.user_id, session.name, session.role, session.agent, "full")


def _refuse(tx: Transaction, name: str, what: str, act: str = "session.sign_in") -> None:
    history.audit(tx, SYSTEM, act, name, result="refused", why=what)
