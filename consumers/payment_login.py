"""Logging in to 12306: tries are counted before they are made, refused passwords are never tried twice (DESIGN section 5.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from pipeline.breaker import Breaker
from pipeline.errors import LoginRefused, Unreachable, UpstreamError, password_went_out
from pipeline.ports import Clock, Railway, RailwaySession
from pipeline.reasons import Reason
from pipeline.stage import Executor
from pipeline.store import accounts
from pipeline.store.engine import Store, Transaction
from pipeline.vault import KeyRing

T = TypeVar("T")

MAX_SKEW_S = 30.0  # beyond it deadlines can't be trusted: counts as an outage
LOCKED_FOR = timedelta(minutes=20)  # wire-protocols B.1: 锁定时间为20分钟


@asynccontextmanager
async def closed_unless_kept(session: RailwaySession) -> AsyncIterator[None]:
    """What fails inside leaves no open session behind."""
    try:
        yield
    except BaseException:
        await session.close()
        raise


class Login:
    """Opens sessions on behalf of purchases. Knows the vault: only the payment worker may have one."""

    def __init__(
        self, railway: Railway, vault: KeyRing, store: Store, executor: Executor, clock: Clock, breaker: Breaker
    ) -> None:
        self._railway, self._vault = railway, vault
        self._store, self._executor, self._clock = store, executor, clock
        self._breaker = breaker

    async def before_intent(self, login: str, password_sealed: str) -> RailwaySession:
        """Log in under all guards. Raises LoginRefused (also without a try, when one of the guards says so), UpstreamError."""
        password = self._vault.open(password_sealed)
        fingerprint = self._vault.fingerprint(password)
        verdict = await self._write(lambda tx: self._may_try(tx, login, fingerprint))
        if verdict is not None:
            raise verdict
        try:
            session = await self._railway.login(login, str(password.reveal()))
        except LoginRefused as error:
            self._breaker.succeeded()
            refused = error
            await self._write(lambda tx: self._refused(tx, login, fingerprint, refused))
            raise
        except (UpstreamError, asyncio.CancelledError) as error:
            # A try that may count as a wrong password at 12306 stays counted here, whatever was answered (DESIGN 5.7).
            if not password_went_out(error):
                await self._write(lambda tx: accounts.uncount_try(tx, login))
            if isinstance(error, UpstreamError):
                self.note(login, error)
            raise
        async with closed_unless_kept(session):
            await self._write(lambda tx: accounts.clear_tries(tx, login))
            return self._with_true_clock(session, login)

    async def for_questions(self, login: str, password_sealed: str) -> RailwaySession:
        """Log in to ask about a submitted payment: the guards hold before the intent only. Raises UpstreamError."""
        password = self._vault.open(password_sealed)
        try:
            session = await self._railway.login(login, str(password.reveal()))
        except UpstreamError as error:
            self.note(login, error)
            raise
        async with closed_unless_kept(session):
            return self._with_true_clock(session, login)

    def note(self, login: str, error: UpstreamError) -> None:
        """Tell the breaker what an error says about 12306: only Unreachable counts against it."""
        if isinstance(error, Unreachable):
            self._breaker.failed(login, error.detail)
        else:
            self._breaker.succeeded()

    def _with_true_clock(self, session: RailwaySession, login: str) -> RailwaySession:
        if abs(session.skew_s) <= MAX_SKEW_S:
            self._breaker.succeeded()
            return session
        error = Unreachable("railway", f"12306的时钟偏差 {session.skew_s:.0f} 秒")
        self._breaker.failed(login, error.detail)
        raise error

    def _may_try(self, tx: Transaction, login: str, fingerprint: str) -> LoginRefused | None:
        accounts.know(tx, login)
        if accounts.is_refused(tx, login, fingerprint):
            return LoginRefused(Reason.WRONG_PASSWORD, "该密码已被12306拒绝过,修改密码之前不再登录")
        if accounts.count_try(tx, login):
            return None
        row = accounts.account(tx, login)
        if row is not None and row.locked_until is not None and row.locked_until > self._clock.now():
            return LoginRefused(Reason.ACCOUNT_LOCKED, "账号在12306被锁定")
        return LoginRefused(Reason.WRONG_PASSWORD, "3次登录被拒绝或没有明确答复,需人工解除后才能再登录")

    def _refused(self, tx: Transaction, login: str, fingerprint: str, refused: LoginRefused) -> None:
        now = self._clock.now()
        if refused.reason == Reason.WRONG_PASSWORD:
            accounts.refuse_credential(tx, login, fingerprint, now)
            return
        accounts.uncount_try(tx, login)
        if refused.reason == Reason.ACCOUNT_LOCKED:
            accounts.lock(tx, login, now + LOCKED_FOR)

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        done = await self._executor.run(lambda: self._store.write(work))
        return done.value
