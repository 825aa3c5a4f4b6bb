"""Looks at the sandbox's journal while the simulation runs: each form received, each fen taken, each word to an agent.

What it finds wrong is wrong whatever our own tables say: they are asked only whose a form was, right before it went out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.cli.simulation.virtual_clock import VirtualClock
from pipeline.ports import PaymentForm
from pipeline.railway.sandbox.world import World
from pipeline.store import picture
from pipeline.store.engine import Row, Store

Line = dict[str, Any]
PROVEN_UNPAID = ("refused", "not_sent", "no_payment")
MOST_REFUSED_LOGINS = 3


@dataclass(frozen=True, slots=True)
class Pay:
    """A form that the cashier received, and whose it was by our own books."""

    seq: int
    order_no: str
    generation: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A form that went out, and all attempts at its hold as our books had them at that moment."""

    form: PaymentForm
    at: datetime
    rows: list[Row[Any]]


class Oracle:
    """`broken` collects, in words, what must never be."""

    def __init__(self, world: World, store: Store, clock: VirtualClock, intent_age_s: float) -> None:
        self._world, self._store, self._clock = world, store, clock
        self._intent_age = timedelta(seconds=intent_age_s)
        self.broken: list[str] = []
        self.lines: list[Line] = []
        self._arriving: dict[str, Sent] = {}  # hold -> the form that arrives at the cashier now
        self._pays: dict[str, list[Pay]] = defaultdict(list)  # by hold
        self._debits: dict[str, list[tuple[Pay, int]]] = defaultdict(list)  # by order
        self._told_unpaid: dict[str, int] = {}  # order -> the generation that the agent was told 2 about
        self._refused_logins: Counter[str] = Counter()  # since somebody unblocked the account
        self._paused: dict[tuple[str, str], datetime] = {}

    def sent(self, form: PaymentForm) -> Sent:
        """A form goes out now, before anything else happens. Say so again when it `arrives`."""
        rows = self._store.read(lambda tx: picture.attempts_of_hold(tx, form.hold_no))
        return Sent(form, self._clock.now(), rows)

    def arrives(self, sent: Sent) -> None:
        """The cashier receives it now."""
        self._arriving[sent.form.hold_no] = sent

    def paused(self, scope: str, name: str) -> None:
        self._paused[scope, name] = self._clock.now()

    def resumed(self, scope: str, name: str) -> None:
        self._paused.pop((scope, name), None)

    def unblocked(self, login: str) -> None:
        self._refused_logins.pop(login, None)

    def look(self) -> None:
        """Everything that the journal says since the last look."""
        for line in self._world.journal(after=len(self.lines)):
            self.lines.append(line)
            kind = line["kind"]
            if kind == "pay":
                self._form_received(line)
            elif kind == "debit":
                self._money_taken(line)
            elif kind == "callback":
                self._agent_told(line)
            elif kind == "login":
                self._logged_in(line)

    def _say(self, line: Line, words: str) -> None:
        where = line["held_order_no"] or line["order_no"] or line["account"]
        self.broken.append(f"{line['time']} {line['kind']} {where}: {words}")

    def _form_received(self, line: Line) -> None:
        hold = line["held_order_no"]
        if hold is None or hold not in self._arriving:
            self._say(line, "a form that nobody sent")
            return
        sent = self._arriving[hold]
        ours = [row for row in sent.rows if row.trade_no == sent.form.trade_no and row.submitted_at is not None]
        if len(ours) != 1:
            self._say(line, f"{len(ours)} intents recorded for its form")
            self._pays[hold].append(Pay(line["seq"], "", 0))
            return
        attempt = ours[0]
        pay = Pay(line["seq"], attempt.order_no, attempt.generation)
        if any(before.order_no == pay.order_no and before.generation == pay.generation for before in self._pays[hold]):
            self._say(line, "one purchase was submitted twice")
        self._pays[hold].append(pay)
        self._check_attempt(line, attempt, sent)

    def _check_attempt(self, line: Line, attempt: Row[Any], sent: Sent) -> None:
        if attempt.concluded_at is not None:
            self._say(line, f"its attempt was concluded before: {attempt.proof}")
        if attempt.state not in ("paying", "in_doubt"):
            self._say(line, f"its purchase was {attempt.state} already")
        if attempt.closure is not None:
            self._say(line, f"its order was {attempt.closure} already")
        if attempt.amount_fen != line["amount_fen"]:
            self._say(line, f"the intent was for {attempt.amount_fen} fen, the form for {line['amount_fen']}")
        if sent.at - attempt.submitted_at >= self._intent_age:
            self._say(line, f"its intent was {sent.at - attempt.submitted_at} old")
        if attempt.submitted_at >= attempt.stop_at:
            self._say(line, "its intent was made after stop_at")
        others = [row for row in sent.rows if row.id != attempt.id and row.submitted_at is not None]
        if any(row.proof not in PROVEN_UNPAID for row in others):
            self._say(line, "another form of this hold may have been paid")
        for scope, name in (("stage", "payment"), ("agent", attempt.agent), ("account", attempt.login)):
            since = self._paused.get((scope, name))
            if since is not None and attempt.submitted_at > since:
                self._say(line, f"{scope} {name} was paused before its intent")

    def _money_taken(self, line: Line) -> None:
        pays = self._pays[line["held_order_no"]]
        if not pays:
            self._say(line, "money was taken without a form")
            return
        pay = pays[-1]
        self._debits[pay.order_no].append((pay, line["amount_fen"]))
        if len(self._debits[pay.order_no]) > 1:
            self._say(line, f"order {pay.order_no} was paid twice")
        if self._told_unpaid.get(pay.order_no, 0) >= pay.generation:
            self._say(line, f"the agent had been told that {pay.order_no}:{pay.generation} was not paid")

    def _agent_told(self, line: Line) -> None:
        order_no, status = line["order_no"], line["pay_status"]
        generation = int(str(line["webhook_id"]).split(":")[1])
        if not line["hmac_ok"]:
            self._say(line, "a wrong signature")
        debits = self._debits[order_no]
        if status == "1" and not debits:
            self._say(line, "told 1, and nothing was taken")
        if status == "2":
            self._told_unpaid[order_no] = max(generation, self._told_unpaid.get(order_no, 0))
            if any(pay.generation <= generation for pay, _fen in debits):
                self._say(line, "told 2, and money was taken")

    def _logged_in(self, line: Line) -> None:
        if line["outcome"] == "ok":
            self.unblocked(line["account"])
        if line["outcome"] != "wrong_password":
            return
        self._refused_logins[line["account"]] += 1
        if self._refused_logins[line["account"]] > MOST_REFUSED_LOGINS:
            self._say(line, "more than 3 refused logins: the account is locked now")

    def debited_fen(self, order_no: str) -> int:
        """What was taken for an order, given back or not."""
        return sum(fen for _pay, fen in self._debits[order_no])

    def all_debited_fen(self) -> int:
        return sum(line["amount_fen"] for line in self.lines if line["kind"] == "debit")

    def fate(self, order_no: str) -> str:
        """What became of the order's money: nothing, ticketed, or lost (taken, and no ticket stands)."""
        if not self._debits[order_no]:
            return "nothing"
        holds = {hold for hold, pays in self._pays.items() for pay in pays if pay.order_no == order_no}
        mine = [line for line in self.lines if line["held_order_no"] in holds]
        issued = any(line["kind"] == "issue" and line["outcome"] == "issued" for line in mine)
        refunded = any(line["kind"] == "refund" for line in mine)
        return "ticketed" if issued and not refunded else "lost"

    def last_told(self, order_no: str) -> str | None:
        """The payStatus that the agent took last."""
        taken = [
            line["pay_status"]
            for line in self.lines
            if line["kind"] == "callback" and line["order_no"] == order_no and line["outcome"] == "ok"
        ]
        return taken[-1] if taken else None
