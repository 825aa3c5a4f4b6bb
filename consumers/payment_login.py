"""Logging in to 12306: tries are counted before they are made, refused passwords are never tried twice (DESIGN section 5.7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from consumers.payment_items import PayItem
from pipeline.breaker import Breaker
from pipeline.errors import LoginRefused, Unreachable, UpstreamError, password_went_out
from pipeline.group_commit import GroupCommit
from pipeline.ports import Clock, Railway, RailwaySession
from pipeline.reasons import Reason
from pipeline.stage import Executor
from pipeline.store import accounts
from pipeline.store.engine import Row, Store, Transaction
from pipeline.store.sets import rounds
from pipeline.vault import KeyRing

T = TypeVar("T")
Try = tuple[str, str]  # a login, and the fingerprint of the password it is tried with

MAX_SKEW_S = 30.0  # beyond it deadlines can't be trusted: counts as an outage
REFUSED_BEFORE = "该密码已被12306拒绝过,修改密码之前不再登录"
LOCKED_FOR = timedelta(minutes=20)  # wire-protocols B.1: 锁定时间为20分钟


@asynccontextmanager
async def closed_unless_kept(session: RailwaySession) -> AsyncIterator[None]:
    """What fails inside leaves no open session behind."""
    try:
        yield
    except BaseException:
        await session.close()
        raise


def take_back_tries(tx: Transaction, items: Iterable[PayItem]) -> None:
    """What these items' accounts are owed, if it is not written yet: logins that went through, or were none."""
    accounts.take_back_tries(tx, [(item.login, *item.tries_owed) for item in items if item.tries_owed is not None])


class Login:
    """Opens sessions on behalf of purchases. Knows the vault: only the payment worker may have one."""

    def __init__(
        self, railway: Railway, vault: KeyRing, store: Store, executor: Executor, clock: Clock, breaker: Breaker
    ) -> None:
        self._railway, self._vault = railway, vault
        self._store, self._executor, self._clock = store, executor, clock
        self._breaker = breaker
        self._tries: GroupCommit[Try, int | LoginRefused] = GroupCommit(self._commit_tries)
        self._through: GroupCommit[PayItem, None] = GroupCommit(self._commit_through)

    async def before_intent(self, item: PayItem) -> RailwaySession:
        """Log in under all guards. That it went through, and the tries of this account are forgotten, is written with the hold
        that is looked for next; whoever does not get so far writes it by `went_through`.

        What the database was not there to hear of them, or never confirmed, stays with the item, and is written with its
        conclusion: else an outage of the database alone would block an account whose every login went through.
        Raises LoginRefused (also without a try, when one of the guards says so), UpstreamError, StoreUnavailable.
        """
        login = item.login
        password = self._vault.open(item.password_sealed)
        fingerprint = self._vault.fingerprint(password)
        counted = await self._tries.do((login, fingerprint))
        if isinstance(counted, LoginRefused):
            raise counted
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
                item.tries_owed = counted, counted - 1
                await self._write(lambda tx: accounts.uncount_try(tx, login))
                item.tries_owed = None
            if isinstance(error, UpstreamError):
                self.note(login, error)
            raise
        item.tries_owed = counted, 0
        async with closed_unless_kept(session):
            try:
                return self._with_true_clock(session, login)
            except Unreachable:
                await self.went_through(item)
                raise

    async def went_through(self, item: PayItem) -> None:
        """Have it written that the item's login went through, unless that is written. To be awaited before another call has this
        account, or it would forget that one's try. Raises StoreUnavailable."""
        if item.tries_owed is not None:
            await self._through.do(item)

    async def for_questions(self, login: str, password_sealed: str) -> RailwaySession:
        """Log in to ask about a submitted payment. Tries are neither counted nor limited after the intent, but a password that
        12306 has refused is not tried again here either: it can only lock the account. Raises UpstreamError."""
        password = self._vault.open(password_sealed)
        fingerprint = self._vault.fingerprint(password)
        if (login, fingerprint) in await self._refused_passwords(login):
            raise LoginRefused(Reason.WRONG_PASSWORD, REFUSED_BEFORE)
        try:
            session = await self._railway.login(login, str(password.reveal()))
        except LoginRefused as error:
            self._breaker.succeeded()
            if error.reason == Reason.WRONG_PASSWORD:
                await self._write(lambda tx: accounts.refuse_credential(tx, login, fingerprint, self._clock.now()))
            raise
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

    async def _commit_tries(self, tries: list[Try]) -> Sequence[int | LoginRefused]:
        return await self._write(lambda tx: self._may_try(tx, tries))

    async def _commit_through(self, items: list[PayItem]) -> Sequence[None]:
        await self._write(lambda tx: take_back_tries(tx, items))
        for item in items:
            item.tries_owed = None
        return [None] * len(items)

    def _may_try(self, tx: Transaction, tries: Sequence[Try]) -> list[int | LoginRefused]:
        """Count each try that may be made, and how many that makes; why another may not. Each account is used by one call at a
        time."""
        verdicts: dict[Try, int | LoginRefused] = {}
        for together in rounds(tries, lambda one: one[0]):
            counted = accounts.count_tries(tx, together)
            denied = [one for one in together if one[0] not in counted]
            verdicts |= {one: counted[one[0]] for one in together if one[0] in counted}
            verdicts |= self._why_denied(tx, denied) if denied else {}
        return [verdicts[one] for one in tries]

    def _why_denied(self, tx: Transaction, tries: Sequence[Try]) -> dict[Try, int | LoginRefused]:
        logins = [login for login, _fingerprint in tries]
        refused, known = accounts.refused_passwords(tx, logins), accounts.find(tx, *logins)
        return {
            one: LoginRefused(Reason.WRONG_PASSWORD, REFUSED_BEFORE) if one in refused else self._closed(known[one[0]])
            for one in tries
        }

    def _closed(self, account: Row[Any]) -> LoginRefused:
        if account.locked_until is not None and account.locked_until > self._clock.now():
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

    async def _refused_passwords(self, login: str) -> set[Try]:
        return await self._executor.run(lambda: self._store.read(lambda tx: accounts.refused_passwords(tx, [login])))

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        done = await self._executor.run(lambda: self._store.write(work))
        return done.value
