"""The cashier: receives forms, takes money, answers questions about trades. It decides nothing by itself, the row does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.ports import Trade, TradeState
from pipeline.railway.sandbox import behaviours
from pipeline.railway.sandbox.behaviours import Debit, Fault, Way
from pipeline.railway.sandbox.book import Book
from pipeline.railway.sandbox.holds import CashierTrade, Hold
from pipeline.railway.sandbox.journal import Record


@dataclass(frozen=True, slots=True)
class Reply:
    """How the cashier answers a form, `delay_s` after its pay line was journalled."""

    way: Way
    text: str = ""
    delay_s: float = 0.0


class Till:
    def __init__(self, book: Book) -> None:
        self._book = book

    def connected(self) -> None:
        """Raises Fault while connections to the cashier are dropped before anything is read."""
        if self._book.outage("cashier") is Way.RESET:
            raise Fault(Way.RESET)

    def submit(self, fields: Mapping[str, str]) -> Reply:
        """Receive a cashier form (wire-protocols B.3 row 6). Every form that was read leaves a `pay` line, also one that
        arrives in an outage, too late, or unknown. Raises Fault in an outage."""
        book = self._book
        self.connected()
        trade = book.trades.get(fields.get("ord_id_ext", ""))
        hold = book.holds[trade.held_order_no] if trade is not None else None
        if hold is not None and not hold.rule.receives:
            raise Fault(Way.RESET)
        outage = book.outage("cashier")
        if trade is None or hold is None or fields.get("ord_amt") != yuan(trade.amount_fen):
            book.write(book.line("pay", "unknown_form"))
            return Reply(Way.REFUSED, behaviours.BAD_SIGN)
        if outage is not None:
            book.write(book.hold_line("pay", "outage", hold, trade.amount_fen))
            raise Fault(outage)
        self.settle()
        if book.now() >= trade.deadline:
            book.write(book.hold_line("pay", "late", hold, trade.amount_fen), _received(trade, debit_follows=False))
            return Reply(Way.REFUSED, behaviours.NOT_PAYABLE, hold.delay_ms / 1000)
        return self._receive(hold, trade)

    def _receive(self, hold: Hold, trade: CashierTrade) -> Reply:
        book, rule = self._book, hold.rule
        records = [
            book.hold_line("pay", "received", hold, trade.amount_fen),
            _received(trade, debit_follows=rule.debit is Debit.LATE),
        ]
        if rule.agent_pays and not hold.issued:
            records.append(book.hold_line("issue", "paid_by_agent", hold))
        if rule.debit is Debit.NOW:
            records += self._debit(hold, trade)
        book.write(*records)
        return Reply(rule.answer, rule.refusal, hold.delay_ms / 1000)

    def _debit(self, hold: Hold, trade: CashierTrade) -> list[Record]:
        book, rule = self._book, hold.rule
        amount = trade.amount_fen + rule.extra_fen
        records = [
            book.hold_line("debit", "taken", hold, amount),
            {"state": "taken", "trade_no": trade.trade_no, "amount_fen": amount},
        ]
        if rule.issues:
            records.append(book.hold_line("issue", "issued", hold))
        if rule.refunds:
            records.append(book.hold_line("refund", "refunded", hold, amount))
            records.append({"state": "given_back", "trade_no": trade.trade_no, "amount_fen": amount})
        return records

    def trade(self, trade_no: str) -> Trade:
        """What the cashier knows of a trade. Raises Fault in an outage and for a muted hold."""
        book = self._book
        outage = book.outage("cashier")
        if outage is not None:
            raise Fault(outage)
        self.settle()
        trade = book.trades.get(trade_no)
        if trade is None:
            return Trade(TradeState.NONE, 0)
        hold = book.holds[trade.held_order_no]
        if hold.muted:
            book.write(book.hold_line("query", "muted", hold))
            raise Fault(Way.SILENCE)
        state = trade.state(book.now())
        answer = Trade(state, trade.taken_fen)
        book.write(book.hold_line("query", f"trade_{state}", hold, trade.taken_fen or None))
        self.answered_not_paid(hold)
        return answer

    def asked_fen(self, trade_no: str) -> int:
        """The amount of a trade's form, 0 for a trade nobody knows."""
        trade = self._book.trades.get(trade_no)
        return trade.amount_fen if trade is not None else 0

    def answered_not_paid(self, hold: Hold) -> None:
        """A question about this hold was just answered; a debit that waited for it lands now."""
        self._land([trade_no for trade_no in hold.trade_nos if trade_no in self._book.awaiting_debit])

    def settle(self) -> None:
        """Land every late debit whose deadline has come: money never moves after the form's own deadline."""
        book = self._book
        now = book.now()
        self._land([no for no in sorted(book.awaiting_debit) if now >= book.trades[no].deadline])

    def _land(self, trade_nos: list[str]) -> None:
        for trade_no in trade_nos:
            trade = self._book.trades[trade_no]
            self._book.write(*self._debit(self._book.holds[trade.held_order_no], trade))


def _received(trade: CashierTrade, *, debit_follows: bool) -> Record:
    return {"state": "received", "trade_no": trade.trade_no, "debit_follows": debit_follows}


def yuan(fen: int) -> str:
    """`1241.00`"""
    return f"{fen // 100}.{fen % 100:02d}"
