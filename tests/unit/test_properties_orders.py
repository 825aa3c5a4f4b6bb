"""An order on which AM, agents, stages, the relay and people act in any sequence: whatever they do, the audit stays clean.

It is the real pipeline on a real store; only 12306 is missing, whose answers are drawn. Beside the audit, three rules of
DESIGN section 5 are checked step by step: a purchase moves along the table only, what ended unpaid stays ended, and after an
intent no other purchase of the order begins before the first is proven unpaid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from pipeline import endings, operations
from pipeline.broker.port import Outgoing
from pipeline.executors import InlineExecutor
from pipeline.metrics import Metrics
from pipeline.operations import Fate
from pipeline.operations_errors import Refused
from pipeline.reasons import RULES, Outcome, Reason
from pipeline.relay import Relay, RelayTimes
from pipeline.states import BEFORE_INTENT, TRANSITIONS, PurchaseState
from pipeline.store import attempts, orders
from pipeline.store.audit import audit
from pipeline.store.engine import Row
from pipeline.store.tables import callbacks, dead_letters, purchases
from tests.unit.desk_world import ANN, BOB, PRICE_FEN, Desk, desk_at
from tests.unit.message_samples import DATA, NEED_PAY, ORDER, ORDER_NO
from tests.unit.properties import repeatable

COMPILED: dict[Any, Any] = {}
UNPAID = sorted(reason for reason, rule_ in RULES.items() if rule_.outcome is Outcome.HELD_UNPAID)
ABNORMAL = sorted(reason for reason, rule_ in RULES.items() if rule_.outcome is Outcome.PAID_ABNORMAL)


def _reachable() -> dict[PurchaseState, set[PurchaseState]]:
    """What may follow a state, by any number of steps."""
    found: dict[PurchaseState, set[PurchaseState]] = {}
    for state in PurchaseState:
        seen, todo = {state}, [state]
        while todo:
            following = TRANSITIONS[todo.pop()] - seen
            seen |= following
            todo += following
        found[state] = seen
    return found


REACHABLE = _reachable()


class Silent:
    """Takes every message."""

    connected = True

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """It arrives."""

    async def close(self) -> None:
        """Nothing is open."""


class OneOrder(RuleBasedStateMachine):
    @initialize(fund=st.sampled_from([0, 1_000_000]))
    def begin(self, fund: int) -> None:
        self._stack = ExitStack()
        self.desk: Desk = self._stack.enter_context(desk_at("sqlite://"))
        self.desk.store.engine = self.desk.store.engine.execution_options(compiled_cache=COMPILED)
        self.desk.set_password()
        if fund:
            self.desk.top_up(fund)
        self.desk.send("order.paid", ORDER)
        self.relay = Relay(Silent(), self.desk.store, InlineExecutor(), Metrics(), RelayTimes(5.0, 7_200.0))
        self.was: dict[int, PurchaseState] = {}
        self.attempt: str | None = None

    def teardown(self) -> None:
        if hasattr(self, "_stack"):
            self._stack.close()

    def purchases(self) -> list[Row[Any]]:
        query = select(purchases).order_by(purchases.c.generation)
        return self.desk.read(lambda tx: tx.rows(query))

    def latest(self) -> Row[Any] | None:
        found = self.purchases()
        return found[-1] if found else None

    def stands_at(self, *states: PurchaseState) -> bool:
        latest = self.latest()
        return latest is not None and latest.state in states

    def submitted(self) -> bool:
        latest = self.latest()
        live = latest is not None and latest.state in (PurchaseState.PAYING, PurchaseState.IN_DOUBT)
        return live and latest is not None and latest.intent_at is not None

    # -- AM and the agent ---------------------------------------------------------------------------------------

    @rule(hold=st.sampled_from(["E646076788", "E646076799", None]))
    def need_pay(self, hold: str | None) -> None:
        self.desk.send("purchase.need_pay", NEED_PAY | {"held_order_no": hold, "tickets": []})

    @rule(kind=st.sampled_from(["purchase.confirmed", "purchase.no_ticket", "refund.requested"]))
    def agent_acts(self, kind: str) -> None:
        self.desk.send(
            kind, DATA[kind] | ({"requested_at": self.desk.clock.moment.isoformat()} if "refund" in kind else {})
        )

    @rule(granted=st.booleans())
    def refund_closed(self, granted: bool) -> None:  # noqa: FBT001 - hypothesis gives it by name
        self.desk.send("refund.closed", DATA["refund.closed"] | {"granted": granted})

    @rule(refund_id=st.sampled_from(["1", "2"]), fen=st.sampled_from([1, PRICE_FEN]))
    def refund_arrived(self, refund_id: str, fen: int) -> None:
        self.desk.send("refund.arrived", DATA["refund.arrived"] | {"refund_id": refund_id, "amount_fen": fen})

    # -- the stages, and what 12306 answers ---------------------------------------------------------------------

    @rule(steps=st.integers(1, 4))
    def work_goes_on(self, steps: int) -> None:
        """The next steps of whatever is to be done, as far as no answer of 12306 is needed."""
        for _ in range(steps):
            self.goes_on()

    def goes_on(self) -> None:
        if self.attempt is not None and self.stands_at(PurchaseState.PAYING):
            self.desk.submit(self.attempt)
            self.attempt = None
        elif self.stands_at(PurchaseState.READY):
            self.attempt = self.desk.open_attempt()
        else:
            self.desk.run("credentials")
            self.desk.run("settlement")

    @precondition(lambda self: self.stands_at(*BEFORE_INTENT))
    @rule(reason=st.sampled_from(UNPAID))
    def ends_before_intent(self, reason: Reason) -> None:
        purchase = self.desk.purchase()
        self.desk.write(
            lambda tx: endings.end_before_intent(tx, purchase, reason, "", stage="payment", actor="system:payment")
        )

    @precondition(submitted)
    @rule(
        answer=st.sampled_from(["paid", "refused", "not_sent", "no_payment", "abnormal"]), why=st.sampled_from(ABNORMAL)
    )
    def is_answered(self, answer: str, why: Reason) -> None:
        purchase = self.desk.purchase()
        if answer == "no_payment":
            self.desk.later(3_600)
        if purchase.state == PurchaseState.PAYING and answer in ("paid", "no_payment"):
            self.desk.write(lambda tx: _in_doubt(tx, purchase.id))
            purchase = self.desk.purchase()

        def conclude(tx: Any) -> None:
            attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
            if answer == "paid":
                endings.conclude_paid(tx, purchase, attempt, PRICE_FEN, actor="system:payment")
            elif answer == "abnormal":
                endings.conclude_abnormal(tx, purchase, attempt, why, "", actor="system:payment", debited_fen=None)
            else:
                reason = Reason.UNPAID_AFTER_DEADLINE if answer == "no_payment" else Reason.PAY_REFUSED
                endings.conclude_unpaid(tx, purchase, attempt, answer, reason, "", actor="system:payment")

        self.desk.write(conclude)

    @precondition(lambda self: self.pending())
    @rule()
    def agent_is_told(self) -> None:
        self.desk.told()

    def pending(self) -> bool:
        query = select(callbacks.c.id).where(callbacks.c.state == "pending")
        return bool(self.desk.read(lambda tx: tx.rows(query)))

    @rule(seconds=st.sampled_from([1, 700, 1_300, 8_000, 3_000_000]))
    def time_passes(self, seconds: int) -> None:
        self.desk.later(seconds)
        asyncio.run(self.relay.tick())

    # -- people -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.stands_at(PurchaseState.PAID_ABNORMAL))
    @rule(fate=st.sampled_from(list(Fate)), fen=st.sampled_from([PRICE_FEN, PRICE_FEN - 5, PRICE_FEN + 5]))
    def person_closes(self, fate: Fate, fen: int) -> None:
        debited = None if fate is Fate.NEVER_DEBITED else fen
        for who in (ANN, BOB):
            self.refusable(
                lambda tx, who=who: operations.close_abnormal(
                    tx, ORDER_NO, fate, debited, "账单第3行", who, four_eyes_fen=1
                )
            )

    @rule(act=st.sampled_from(["replay", "discard", "restore"]), which=st.integers(0, 3))
    def person_handles_a_dead_letter(self, act: str, which: int) -> None:
        letters = self.desk.read(lambda tx: tx.rows(select(dead_letters.c.id).order_by(dead_letters.c.id)))
        if not letters:
            return
        letter = letters[which % len(letters)].id
        if act == "replay":
            self.desk.replay(letter)
        elif act == "discard":
            self.refusable(lambda tx: operations.discard(tx, letter, "重复", ANN))
        else:
            self.refusable(lambda tx: operations.restore(tx, letter, ANN))

    def refusable(self, act: Any) -> None:
        try:
            self.desk.write(act)
        except Refused:
            return

    # -- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def the_audit_is_clean(self) -> None:
        if hasattr(self, "desk"):
            assert self.desk.read(audit).broken == ()

    @invariant()
    def a_purchase_moves_along_the_table(self) -> None:
        if not hasattr(self, "desk"):
            return
        found = {row.generation: PurchaseState(row.state) for row in self.purchases()}
        assert self.was.keys() <= found.keys()
        for generation, state in found.items():
            assert state in REACHABLE[self.was.get(generation, PurchaseState.ACCEPTED)]
            if generation < max(found):
                assert state is PurchaseState.HELD_UNPAID
        self.was = found


def _in_doubt(tx: Any, purchase_id: str) -> None:
    orders.move(tx, purchase_id, PurchaseState.PAYING, PurchaseState.IN_DOUBT)


TestOneOrder = OneOrder.TestCase
TestOneOrder.settings = repeatable(15, stateful_step_count=20)
