"""What a run proves. The journal of the sandbox, which 12306, the cashier and the agents wrote, is the oracle; what daifu says
of itself must agree with it. A pure function of what was found at the end.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

from tests.chaos.endings import allowed
from tests.chaos.orders import Order
from tests.integration.pipeline_endings import ENDINGS, Ending

Line = dict[str, Any]
AS_EXPECTED: Final = "as its behaviour says"
MOST_SHOWN: Final = 40  # findings printed in full
LAST_EVENT: Final = {"settled": "purchase.settled", "held_unpaid": "purchase.held_unpaid"}
LAST_EVENT_OTHERWISE: Final = "purchase.paid_abnormal"
UNHEARD_AT_LEAST: Final = 2  # logins
TRADE: Final = "trade_"  # what the cashier knows of a trade, as the journal names it


@dataclass(frozen=True, slots=True)
class Late:
    """When questions about a form are late enough to prove how it ended, and are asked at all: in seconds after the form came.
    From `first_s` on its hold with the grace is certainly over, until `last_s` its window certainly is not."""

    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a run, as found. `rows` is `daifu orders list`, `events` what AM received: order → seq → type."""

    orders: Sequence[Order]
    journal: Sequence[Line]
    rows: Mapping[str, Line]
    events: Mapping[str, Mapping[int, str]]
    audit: Mapping[str, Any]
    queues: Mapping[str, int]  # messages of every queue but `daifu.am`
    left_rows: Mapping[str, int]  # rows of tables that must be empty when all is done
    kills: int
    at_least: float = 0.0  # the share of orders that must end as their behaviour says, or the run proved little
    late: Late | None = None  # None: nothing of that run kept questions from being answered
    troubles: Sequence[str] = ()  # processes that ended by themselves, looked dead while they lived, or grew


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lost`: orders that never ended or whose agent was not told how. `findings`: everything that is wrong, in words."""

    orders: int
    kills: int
    double_paid: int
    lost: int
    findings: tuple[str, ...]
    endings: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.findings or self.double_paid or self.lost)

    def line(self, **more: object) -> str:
        """The last line of a run."""
        first = {"ok": self.ok, "orders": self.orders, "kills": self.kills}
        promises = {"double_paid": self.double_paid, "lost": self.lost}
        return json.dumps({**first, **promises, **more}, ensure_ascii=False)

    def report(self) -> str:
        """How the orders ended, and what is wrong, for a person."""
        ways = [f"  {count:6d}  {way}" for way, count in sorted(self.endings.items(), key=lambda one: -one[1])]
        wrong = [f"  WRONG  {finding}" for finding in self.findings[:MOST_SHOWN]]
        if len(self.findings) > MOST_SHOWN:
            wrong.append(f"  … and {len(self.findings) - MOST_SHOWN} more")
        return "\n".join(["how the orders ended:", *ways, *wrong])


class Oracle:
    """The journal, by hold and by order."""

    def __init__(self, journal: Sequence[Line]) -> None:
        self.pays: dict[str, list[Line]] = defaultdict(list)
        self.debits: dict[str, list[Line]] = defaultdict(list)
        self.callbacks: dict[str, list[Line]] = defaultdict(list)
        self._said: dict[str, list[Line]] = defaultdict(list)  # by account: what it was told of its lists and trades
        self._forms: dict[str, Line] = {}  # by hold: when its form was last asked for; then comes the intent
        for line in journal:
            if line["kind"] == "pay":
                self.pays[str(line["held_order_no"])].append(line)
            elif line["kind"] == "debit":
                self.debits[str(line["held_order_no"])].append(line)
            elif line["kind"] == "callback":
                self.callbacks[str(line["order_no"])].append(line)
            elif line["kind"] == "continue":
                self._forms[str(line["held_order_no"])] = line
            elif line["kind"] in ("login", "query"):
                self._said[str(line["account"])].append(line)

    def paid_twice(self) -> list[str]:
        """Holds that were sent to the cashier, or debited, more than once."""
        holds = {*self.pays, *self.debits}
        return sorted(no for no in holds if len(self.pays[no]) > 1 or len(self.debits[no]) > 1)

    def told(self, order_no: str) -> str | None:
        """The last payStatus that the agent took; None when it took none."""
        taken = [str(line["pay_status"]) for line in self.callbacks[order_no] if line["outcome"] == "ok"]
        return taken[-1] if taken else None

    def form_of(self, hold_no: str) -> str | None:
        """What became of the form; None where none came."""
        return str(self.pays[hold_no][0]["outcome"]) if self.pays[hold_no] else None

    def unheard(self, account: str) -> bool:
        """At least two logins of it went through and nothing was asked in their sessions. The third of the tries that block an
        account may have been lost before 12306 heard of it."""
        told = [line for line in self._said[account] if line["outcome"] != "taken_over"]
        unused = [
            one
            for one, then in zip_longest(told, told[1:])
            if one["kind"] == "login" and one["outcome"] == "ok" and (then is None or then["kind"] == "login")
        ]
        return len(unused) >= UNHEARD_AT_LEAST

    def unanswered(self, order: Order, late: Late) -> bool:
        """Its form was sent, or may have been, and no late question about it was answered by both sides."""
        form = self.pays[order.hold_no][0] if self.pays[order.hold_no] else self._forms.get(order.hold_no)
        return form is not None and not self._answered(order, late, datetime.fromisoformat(form["time"]))

    def _answered(self, order: Order, late: Late, form: datetime) -> bool:
        """12306 with its list of unpaid orders, then the cashier."""
        listed = False
        for line in self._said[order.account]:
            after_s = (datetime.fromisoformat(line["time"]) - form).total_seconds()
            if late.first_s <= after_s <= late.last_s:
                if listed and line["outcome"].startswith(TRADE) and line["held_order_no"] == order.hold_no:
                    return True
                listed = line["kind"] == "query" and (listed or line["held_order_no"] is None)
        return False


def judge(found: Found) -> Verdict:
    """Compare everything with everything."""
    oracle = Oracle(found.journal)
    paid_twice = oracle.paid_twice()
    lost = [order.order_no for order in found.orders if _is_lost(order, found, oracle)]
    findings = [f"{hold_no}: paid more than once" for hold_no in paid_twice]
    findings += [f"{order_no}: lost ({_gist(found.rows.get(order_no))})" for order_no in lost]
    ways: Counter[str] = Counter()
    for order in found.orders:
        row = found.rows.get(order.order_no)
        if row is None or order.order_no in lost:
            continue
        findings += _wrong_words(order, oracle)
        found_ending = _ending_of(order, row, oracle)
        ways[_way(order, found_ending)] += 1
        form = oracle.form_of(order.hold_no)
        unanswered = found.late is not None and oracle.unanswered(order, found.late)
        unheard = oracle.unheard(order.account)
        if found_ending not in allowed(order.behaviour, form, unanswered=unanswered, unheard=unheard):
            findings.append(f"{order.order_no} ({order.behaviour}) ended as {found_ending}")
        findings += _wrong_events(order.order_no, row, found.events.get(order.order_no, {}))
    findings += _of_the_whole(found, oracle)
    if ways[AS_EXPECTED] < found.at_least * len(found.orders):
        findings.append(
            f"too weak: only {ways[AS_EXPECTED]} orders ended as their behaviour says, the rest came too late"
        )
    return Verdict(len(found.orders), found.kills, len(paid_twice), len(lost), tuple(findings), dict(ways))


def _is_lost(order: Order, found: Found, oracle: Oracle) -> bool:
    row = found.rows.get(order.order_no)
    ended = row is not None and row["outcome"] is not None and row["state"] != "purchased"
    told = oracle.told(order.order_no)
    return not ended or row is None or told is None or told != row["pay_status"] or not row["agent_told"]


def _ending_of(order: Order, row: Line, oracle: Oracle) -> Ending:
    pays, debits = len(oracle.pays[order.hold_no]), len(oracle.debits[order.hold_no])
    return Ending(str(row["state"]), row["reason"], str(row["pay_status"]), pays, debits)


def _way(order: Order, ending: Ending) -> str:
    words = f"{ending.state} {ending.reason or ''} {ending.pays}/{ending.debits}"
    return AS_EXPECTED if ending == ENDINGS[order.behaviour] else f"{order.behaviour} → {words}"


def _wrong_words(order: Order, oracle: Oracle) -> Iterator[str]:
    """What an agent was told last against what was taken from its fund: from the journal alone."""
    told, debits = oracle.told(order.order_no), len(oracle.debits[order.hold_no])
    if told == "2" and debits:
        yield f"{order.order_no}: its agent was told unpaid, and the money was taken"
    if told == "1" and not debits:
        yield f"{order.order_no}: its agent was told paid, and no money was taken"
    if any(not line["hmac_ok"] for line in oracle.callbacks[order.order_no]):
        yield f"{order.order_no}: a callback with a wrong signature"


def _wrong_events(order_no: str, row: Line, events: Mapping[int, str]) -> Iterator[str]:
    """AM has every result, each once by its number, the last one fitting the outcome, and one purchase."""
    if sorted(events) != list(range(1, len(events) + 1)):
        yield f"{order_no}: AM has the results {sorted(events)}"
        return
    last = events[len(events)] if events else None
    wanted = LAST_EVENT.get(str(row["state"]), LAST_EVENT_OTHERWISE)
    if last != wanted:
        yield f"{order_no}: the last result that AM has is {last}, not {wanted}"
    if list(events.values()).count("purchase.accepted") != 1 or row["generation"] != 1:
        yield f"{order_no}: accepted {list(events.values()).count('purchase.accepted')} times"


def _of_the_whole(found: Found, oracle: Oracle) -> Iterator[str]:
    if not found.audit.get("ok"):
        yield f"the audit says: {json.dumps(found.audit.get('broken', found.audit), ensure_ascii=False)[:2000]}"
    ours = {order.hold_no for order in found.orders}
    strange = sorted({*oracle.pays, *oracle.debits} - ours)
    if strange:
        yield f"paid, and nobody asked for it: {strange}"
    unknown = sorted(set(found.rows) - {order.order_no for order in found.orders})
    if unknown:
        yield f"orders that nobody sent: {unknown[:10]}"
    for name, messages in found.queues.items():
        if messages:
            yield f"queue {name} still holds {messages} messages"
    for table, rows in found.left_rows.items():
        if rows:
            yield f"table {table} still holds {rows} rows"
    yield from found.troubles


def _gist(row: Line | None) -> str:
    if row is None:
        return "unknown to daifu"
    return ", ".join(f"{name} {row[name]}" for name in ("state", "reason", "pay_status", "agent_told"))
