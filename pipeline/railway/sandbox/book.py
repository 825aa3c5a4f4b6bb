"""The sandbox's one truth: everything it remembers, changed only by records that were written to the journal first.

Live and after a restart the same `_apply` runs over the same records, so a restarted sandbox can't disagree with itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pipeline.ports import Clock
from pipeline.railway.sandbox.behaviours import Way
from pipeline.railway.sandbox.holds import Account, Agent, CashierTrade, Hold, Outage
from pipeline.railway.sandbox.journal import Journal, Record


class Book:
    """Holds, trades, accounts, agents, outages and the journal lines. `clock` is our clock."""

    def __init__(self, clock: Clock, journal: Journal) -> None:
        self._clock = clock
        self.journal = journal
        self.lines: list[Record] = []
        self.holds: dict[str, Hold] = {}
        self.holds_by_account: dict[str, list[Hold]] = {}
        self.trades: dict[str, CashierTrade] = {}
        self.accounts: dict[str, Account] = {}
        self.agents: dict[str, Agent] = {}
        self.outages: dict[str, Outage] = {}
        self.skew_s = 0.0
        self.awaiting_debit: set[str] = set()  # trades whose debit is still to land
        self._states: dict[str, Callable[[Record], None]] = {
            "hold": self._apply_hold,
            "locked": self._apply_locked,
            "trade": self._apply_trade,
            "received": self._apply_received,
            "taken": self._apply_taken,
            "given_back": self._apply_given_back,
            "outage": self._apply_outage,
            "clock": self._apply_clock,
            "agent": self._apply_agent,
        }
        for record in journal.take_found():
            self._apply(record)

    def our_now(self) -> datetime:
        return self._clock.now()

    def now(self) -> datetime:
        """12306's and the cashier's clock."""
        return self._clock.now() + timedelta(seconds=self.skew_s)

    def outage(self, upstream: str) -> Way | None:
        """How `railway` or `cashier` is down right now, or None."""
        outage = self.outages.get(upstream)
        return outage.way if outage is not None and self.our_now() < outage.until else None

    def line(
        self,
        kind: str,
        outcome: str,
        *,
        account: str | None = None,
        held_order_no: str | None = None,
        order_no: str | None = None,
        amount_fen: int | None = None,
        **callback: Any,
    ) -> Record:
        """A journal line, numbered when it is written. Only kind `callback` carries more fields."""
        return {
            "seq": 0,
            "time": self.our_now().isoformat(),
            "kind": kind,
            "account": account,
            "held_order_no": held_order_no,
            "order_no": order_no,
            "amount_fen": amount_fen,
            "outcome": outcome,
            **callback,
        }

    def hold_line(self, kind: str, outcome: str, hold: Hold, amount_fen: int | None = None) -> Record:
        return self.line(kind, outcome, account=hold.account, held_order_no=hold.held_order_no, amount_fen=amount_fen)

    def write(self, *records: Record) -> None:
        """Write the records together, then let them happen. Raises OSError, and then nothing happened."""
        seq = len(self.lines)
        for record in records:
            if "kind" in record:
                seq += 1
                record["seq"] = seq
        self.journal.append(records)
        for record in records:
            self._apply(record)

    def _apply(self, record: Record) -> None:
        if "kind" in record:
            self.lines.append(record)
            self._apply_line(record)
        else:
            self._states[record["state"]](record)

    def _apply_line(self, line: Record) -> None:
        kind, outcome = line["kind"], line["outcome"]
        if kind == "login":
            self._apply_login(line)
        elif kind == "callback":
            agent = self.agents.setdefault(line["account"], Agent())
            if agent.times_left:
                agent.times_left -= 1
        hold = self.holds.get(line["held_order_no"] or "")
        if hold is not None:
            self._apply_to_hold(hold, kind, outcome)

    @staticmethod
    def _apply_to_hold(hold: Hold, kind: str, outcome: str) -> None:
        if kind == "pay":
            hold.pays += 1
        elif kind == "debit":
            hold.debits += 1
        elif kind == "issue":
            hold.issued = True
        elif kind == "refund":
            hold.refunded = True
        elif outcome == "busy":
            hold.busy_given += 1
        elif outcome == "left_out":
            hold.left_out += 1

    def _apply_login(self, line: Record) -> None:
        account = self.accounts.get(line["account"])
        if account is not None and line["outcome"] == "wrong_password":
            account.wrong_tries += 1
        elif account is not None and line["outcome"] == "ok":
            account.wrong_tries = 0
        elif line["outcome"] == "taken_over" and line["held_order_no"] is not None:
            self.holds[line["held_order_no"]].session_lost = True

    def _apply_hold(self, record: Record) -> None:
        hold = Hold.from_record(record["hold"])
        self.holds[hold.held_order_no] = hold
        self.holds_by_account.setdefault(hold.account, []).append(hold)
        salt, password_hash = bytes.fromhex(record["salt"]), bytes.fromhex(record["password_hash"])
        account = self.accounts.get(hold.account)
        if account is None:
            self.accounts[hold.account] = Account(salt, password_hash)
        else:
            account.salt, account.password_hash = salt, password_hash

    def _apply_locked(self, record: Record) -> None:
        account = self.accounts[record["account"]]
        account.locked_until, account.wrong_tries = datetime.fromisoformat(record["until"]), 0

    def _apply_trade(self, record: Record) -> None:
        deadline = datetime.fromisoformat(record["deadline"])
        trade = CashierTrade(record["trade_no"], record["held_order_no"], record["amount_fen"], deadline)
        self.trades[trade.trade_no] = trade
        self.holds[trade.held_order_no].trade_nos.append(trade.trade_no)

    def _apply_received(self, record: Record) -> None:
        trade = self.trades[record["trade_no"]]
        trade.received = True
        if record["debit_follows"]:
            self.awaiting_debit.add(trade.trade_no)

    def _apply_taken(self, record: Record) -> None:
        trade = self.trades[record["trade_no"]]
        trade.taken_fen += record["amount_fen"]
        self.awaiting_debit.discard(trade.trade_no)

    def _apply_given_back(self, record: Record) -> None:
        self.trades[record["trade_no"]].refunded_fen += record["amount_fen"]

    def _apply_outage(self, record: Record) -> None:
        until = datetime.fromisoformat(record["until"])
        self.outages = {upstream: Outage(Way(record["mode"]), until) for upstream in record["upstreams"]}

    def _apply_clock(self, record: Record) -> None:
        self.skew_s = record["skew_s"]

    def _apply_agent(self, record: Record) -> None:
        agent = self.agents.setdefault(record["code"], Agent())
        agent.answer, agent.times_left = record["answer"], record["times"]
        if record["key"] is not None:
            agent.key = record["key"]
