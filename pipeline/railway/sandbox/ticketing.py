"""12306: logins and sessions, the unpaid and the finished list, the walk to the cashier's form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from pipeline.ports import RailwayOrder
from pipeline.railway.sandbox import behaviours
from pipeline.railway.sandbox.behaviours import Fault, LoginTrap, Says, Shown
from pipeline.railway.sandbox.book import Book
from pipeline.railway.sandbox.holds import CashierTrade, Hold
from pipeline.railway.sandbox.seats import listed_as_finished, railway_order
from pipeline.railway.sandbox.till import Till

CHINA = ZoneInfo("Asia/Shanghai")
WRONG_TRIES_TO_LOCK = 4  # wire-protocols B.1
LOCKED_FOR = timedelta(minutes=20)


@dataclass(slots=True)
class Session:
    """A login. It lives in memory alone: after a restart 12306 asks everybody to log in again."""

    account: str
    entered: bool = False  # userLogin was called
    ended: bool = False  # somebody else logged in since
    chosen: str | None = None  # the hold number of the walk in progress


class Ticketing:
    """Every call may raise Fault (an outage) and Says (12306's words). `sid` names the caller's session."""

    def __init__(self, book: Book, till: Till) -> None:
        self._book = book
        self._till = till
        self._sessions: dict[str, Session] = {}
        self._current: dict[str, str] = {}  # account → sid of its one live session
        self._ended: dict[str, str] = {}  # account → sid that was ended last, kept to be told so

    def alive(self) -> None:
        """Raises Fault while 12306 is down."""
        outage = self._book.outage("railway")
        if outage is not None:
            raise Fault(outage)

    def captcha_wanted(self, account: str) -> bool:
        return self._trapped(account, LoginTrap.CAPTCHA)

    @staticmethod
    def captcha_answer(sid: str) -> str:
        """What the picture of this session says."""
        return hashlib.blake2b(sid.encode(), digest_size=2).hexdigest()

    def login(self, sid: str, account: str, password: str, captcha: str = "") -> None:
        """Check a password and end the account's earlier session; `enter` completes the login."""
        self.alive()
        book = self._book
        if self.captcha_wanted(account) and captcha != self.captcha_answer(sid):
            raise Says(behaviours.CAPTCHA_WRONG)
        known = book.accounts.get(account)
        locked_until = known.locked_until if known is not None else None
        if self._trapped(account, LoginTrap.LOCKED) or (locked_until is not None and book.now() < locked_until):
            book.write(book.line("login", "locked", account=account))
            raise Says(behaviours.LOCKED)
        if known is None:
            book.write(book.line("login", "wrong_password", account=account))
            raise Says(behaviours.NO_SUCH_LOGIN)
        if not known.knows(password):
            self._refuse(account, known.wrong_tries + 1)
        book.write(book.line("login", "ok", account=account))
        self._open(sid, account)

    def _refuse(self, account: str, tries: int) -> None:
        book = self._book
        if tries < WRONG_TRIES_TO_LOCK:
            book.write(book.line("login", "wrong_password", account=account))
            raise Says(behaviours.WRONG_PASSWORD)
        until = book.now() + LOCKED_FOR
        book.write(
            book.line("login", "locked", account=account),
            {"state": "locked", "account": account, "until": until.isoformat()},
        )
        raise Says(behaviours.LOCKED)

    def _open(self, sid: str, account: str) -> None:
        book = self._book
        before = self._current.get(account)
        session = Session(account)
        if before is not None and before != sid and not self._sessions[before].ended:
            self._sessions.pop(self._ended.pop(account, ""), None)
            self._sessions[before].ended = True
            self._ended[account] = before
            book.write(book.line("login", "taken_over", account=account))
        elif before is not None and before != sid:
            self._sessions.pop(before, None)
        self._sessions[sid] = session
        self._current[account] = sid
        for hold in book.holds_by_account.get(account, []):
            if hold.rule.loses_session and not hold.session_lost:
                book.write(book.hold_line("login", "taken_over", hold))
                session.ended = True

    def enter(self, sid: str) -> None:
        """userLogin: from here on the session is authenticated."""
        self.alive()
        session = self._sessions.get(sid)
        if session is None:
            raise Says(behaviours.NOT_LOGGED_IN)
        session.entered = True

    def unpaid(self, sid: str) -> tuple[RailwayOrder, ...]:
        """queryMyOrderNoComplete."""
        session = self._authenticated(sid)
        book, now = self._book, self._book.now()
        holds = book.holds_by_account.get(session.account, [])
        self._mute_or_busy("query", session.account, [hold for hold in holds if hold.muted])
        listed = [hold for hold in holds if hold.state(now) == "unpaid" or hold.rule.shown is Shown.GONE]
        left_out = [hold for hold in listed if hold.left_out < hold.rule.empty_lists]
        shown = [hold for hold in listed if hold not in left_out]
        if left_out:
            book.write(*(book.hold_line("query", "left_out", hold) for hold in left_out))
        else:
            number = shown[0].held_order_no if len(shown) == 1 else None
            outcome = "unpaid" if shown else "none_unpaid"
            book.write(book.line("query", outcome, account=session.account, held_order_no=number))
        orders = tuple(railway_order(hold) for hold in shown)
        for hold in shown:
            self._till.answered_not_paid(hold)
        return orders

    def finished(
        self, sid: str, hold_no: str, booked_from: date, booked_to: date, *, departed: bool
    ) -> tuple[RailwayOrder, ...]:
        """queryMyOrder by booking date (China's calendar, both ends included). `hold_no` "" is every order; `departed`
        chooses 历史 (True) or 未出行 (False)."""
        session = self._authenticated(sid)
        book = self._book
        holds = [h for h in book.holds_by_account.get(session.account, []) if hold_no in {"", h.held_order_no}]
        self._mute_or_busy("query", session.account, [hold for hold in holds if hold.muted])
        found = [
            hold
            for hold in holds
            if listed_as_finished(hold)
            and booked_from <= hold.booked_at.astimezone(CHINA).date() <= booked_to
            and departed is (hold.departure_at < book.now())
        ]
        outcome = "finished" if found else "not_finished"
        book.write(book.line("query", outcome, account=session.account, held_order_no=hold_no or None))
        orders = tuple(railway_order(hold) for hold in found)
        for hold in holds:
            self._till.answered_not_paid(hold)
        return orders

    def choose(self, sid: str, hold_no: str) -> None:
        """continuePayNoCompleteMyOrder: raises Says with existError's words unless the hold can be paid now."""
        session = self._authenticated(sid)
        book = self._book
        hold = book.holds.get(hold_no)
        mine = hold if hold is not None and hold.account == session.account else None
        self._mute_or_busy("continue", session.account, [mine] if mine is not None and mine.muted else [])
        words = self._why_not(mine)
        outcome = "ok" if words is None else "refused"
        book.write(book.line("continue", outcome, account=session.account, held_order_no=hold_no))
        session.chosen = None
        if words is not None:
            raise Says(words)
        session.chosen = hold_no

    def _why_not(self, hold: Hold | None) -> str | None:
        if hold is None or hold.rule.shown is Shown.NOWHERE:
            return behaviours.NO_SUCH_ORDER
        state = hold.state(self._book.now())
        if state == "expired":
            return behaviours.EXPIRED
        return None if state == "unpaid" else behaviours.ALREADY_PAID

    def order_form(self, sid: str) -> CashierTrade:
        """paycheckNew: a new trade for the chosen hold, known to the cashier only once its form arrives."""
        session = self._authenticated(sid)
        book = self._book
        hold = book.holds.get(session.chosen or "")
        words = self._why_not(hold)
        if hold is None or words is not None:
            raise Says(words or behaviours.NO_SUCH_ORDER)
        trade_no = f"3{hold.held_order_no}{len(hold.trade_nos) + 1:08d}"
        book.write(
            {
                "state": "trade",
                "trade_no": trade_no,
                "held_order_no": hold.held_order_no,
                "amount_fen": hold.total_fen,
                "deadline": hold.pay_deadline.isoformat(),
            }
        )
        return book.trades[trade_no]

    def gateway(self, trade_no: str) -> CashierTrade | None:
        """payGateway of epay: the trade of a form that 12306 signed, or None."""
        trade = self.signed_trade(trade_no)
        if trade is not None:
            hold = self._book.holds[trade.held_order_no]
            self._book.write(self._book.hold_line("gateway", "ok", hold, trade.amount_fen))
        return trade

    def signed_trade(self, trade_no: str) -> CashierTrade | None:
        """webBusiness of epay: as `gateway`, journalled there."""
        self.alive()
        return self._book.trades.get(trade_no)

    def _authenticated(self, sid: str) -> Session:
        self.alive()
        self._till.settle()
        session = self._sessions.get(sid)
        if session is None or not session.entered:
            raise Says(behaviours.NOT_LOGGED_IN)
        if session.ended:
            raise Says(behaviours.TAKEN_OVER)
        return session

    def _mute_or_busy(self, kind: str, account: str, muted: list[Hold]) -> None:
        book = self._book
        if muted:
            book.write(book.hold_line(kind, "muted", muted[0]))
            raise Says(behaviours.BUSY)
        for hold in book.holds_by_account.get(account, []):
            if hold.busy_given < hold.rule.busy_calls:
                book.write(book.hold_line(kind, "busy", hold))
                raise Says(behaviours.BUSY)

    def _trapped(self, account: str, trap: LoginTrap) -> bool:
        now = self._book.now()
        holds = self._book.holds_by_account.get(account, [])
        return any(hold.rule.login is trap and hold.state(now) == "unpaid" for hold in holds)
