"""An order brought to where an operator meets it, on a real database with a clock that stands still until told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from consumers.credentials import Credentials
from consumers.settlement import Settlement
from pipeline import endings, operations, setbacks
from pipeline.acceptance import Answer, Limits, accept
from pipeline.operations import Rules
from pipeline.reasons import Reason
from pipeline.secret import Secret
from pipeline.stage import OneTransaction
from pipeline.states import PurchaseState
from pipeline.store import accounts, attempts, callbacks, dead_letters, orders, work
from pipeline.store.attempts import Intent
from pipeline.store.engine import Row, Store, Transaction, open_store
from pipeline.store.queries import Json, show_order
from pipeline.store.queries_letters import list_letters
from pipeline.store.work import Step, split_key
from pipeline.vault import KeyRing
from schemas.am_messages import parse
from tests.contract.store_subjects import create_tables
from tests.unit.message_samples import NEED_PAY, ORDER, ORDER_NO, body
from tests.unit.order_world import whole_purchase

T = TypeVar("T")
START = datetime(2014, 11, 17, 12, 31, 22, tzinfo=UTC)
HOLD_NO = "E646076788"
ACCOUNT = "agent_user01"
AGENT = "xcslw"
ANN, BOB = "human:ann", "human:bob"
PRICE_FEN = 124_100
FARE_FEN = 128_400


class StillClock:
    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return (self.moment - START).total_seconds()


class Desk:
    """A store with one agent; the methods are what stages would do, in the words of the tests."""

    def __init__(self, store: Store, clock: StillClock) -> None:
        self.store, self.clock = store, clock
        self.passwords, self.services = KeyRing.generate(), KeyRing.generate()
        self.rules = Rules(Limits(1200.0, 300.0), 60.0, self.services)
        self._ids = 0
        self.write(
            lambda tx: operations.add_agent(
                tx, AGENT, "https://agent.example/told", None, self.services.public, ANN, allow_http=False
            )
        )
        self.top_up(1_000_000)

    def write(self, task: Callable[[Transaction], T]) -> T:
        return self.store.write(task).value

    def read(self, task: Callable[[Transaction], T]) -> T:
        return self.store.read(task)

    def later(self, seconds: float) -> None:
        self.clock.moment += timedelta(seconds=seconds)

    def top_up(self, fen: int) -> None:
        self.write(lambda tx: operations.top_up_fund(tx, AGENT, fen, "测试充值", ANN))

    def set_password(self, login: str | None = ACCOUNT) -> None:
        self.write(
            lambda tx: operations.set_password(
                tx, AGENT, Secret("not a real password"), self.passwords.public, ANN, login=login
            )
        )

    def send(self, kind: str, data: dict[str, Any] | None = None) -> Answer:
        """A message from AM, a new one each time."""
        self._ids += 1
        message = parse(body(kind, data, id=str(self._ids), time=self.clock.moment.isoformat()))
        return self.write(lambda tx: accept(tx, message, self.rules.limits, origin="queue"))

    def requested(self, **changes: Any) -> None:
        """The order is paid and its purchase accepted."""
        self.send("order.paid", ORDER)
        assert self.send("purchase.need_pay", NEED_PAY | changes).result == "accepted"

    def ready(self, **changes: Any) -> None:
        self.requested(**changes)
        self.run("credentials")

    def run(self, stage: str) -> None:
        """What is due at a stage without calls."""
        stages: dict[str, OneTransaction] = {"credentials": Credentials(), "settlement": Settlement()}
        keys = [key for key in self.work() if split_key(key) is not None]
        self.write(lambda tx: stages[stage].transact(tx, [key for key in keys if _stage(key) == stage]))

    def work(self) -> list[str]:
        generations = range(4)
        keys = [f"{ORDER_NO}:{generation}:{step}" for generation in generations for step in Step]
        return sorted(row.key for row in self.read(lambda tx: work.find(tx, keys)))

    def purchase(self) -> Row[Any]:
        def find(tx: Transaction) -> Row[Any]:
            key = orders.load(tx, [ORDER_NO])[ORDER_NO].purchase_id
            return whole_purchase(tx, key)

        return self.read(find)

    def ended(self, reason: Reason, **changes: Any) -> int:
        """The purchase ended before its intent; the id of its dead letter."""
        self.ready(**changes)
        purchase = self.purchase()
        self.write(
            lambda tx: endings.end_before_intent(tx, purchase, reason, "", stage="payment", actor="system:payment")
        )
        return int(self.letter()["id"])

    def open_attempt(self) -> str:
        purchase = self.purchase()

        def claim(tx: Transaction) -> str:
            orders.move(tx, purchase.id, PurchaseState.READY, PurchaseState.PAYING)
            return attempts.open_attempt(tx, purchase.id, ORDER_NO, purchase.generation, ACCOUNT, 1)

        return self.write(claim)

    def submit(self, attempt_id: str) -> Any:
        """The intent, with what its transaction writes beside it; None, or the refusal."""
        purchase = self.purchase()
        deadline = self.clock.moment + timedelta(minutes=30)
        intent = Intent(
            attempt_id, 1, purchase.id, ORDER_NO, purchase.generation, AGENT, ACCOUNT, HOLD_NO, "T1", PRICE_FEN,
            deadline, deadline + timedelta(minutes=5), purchase.stop_at,
        )  # fmt: skip

        def record(tx: Transaction) -> Any:
            refusal = attempts.record_intent(tx, intent)
            if refusal is None:
                work.remove(tx, [work.work_key(ORDER_NO, purchase.generation, Step.PAY)])
                work.add(tx, ORDER_NO, purchase.generation, Step.ASK, urgency=purchase.stop_at)
            return refusal

        return self.write(record)

    def submitted(self, **changes: Any) -> str:
        self.ready(**changes)
        attempt_id = self.open_attempt()
        assert self.submit(attempt_id) is None
        purchase = self.purchase()
        self.write(lambda tx: orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.IN_DOUBT))
        return attempt_id

    def abnormal(self, reason: Reason = Reason.OUTCOME_UNKNOWN) -> None:
        """Submitted, and nobody can say how it ended."""
        self.submitted()
        purchase = self.purchase()
        self.write(
            lambda tx: endings.conclude_abnormal(
                tx, purchase, attempts.submitted(tx, [purchase.id])[purchase.id], reason, "", actor="system:relay"
            )
        )

    def found_paid(self) -> None:
        """12306 lists the hold as paid, and nothing of this purchase was submitted."""
        self.ready()
        attempt = self.open_attempt()
        purchase = self.purchase()

        def found(tx: Transaction) -> None:
            attempts.close_one(tx, attempt, Reason.PAID_ELSEWHERE)
            endings.conclude_abnormal(tx, purchase, None, Reason.PAID_ELSEWHERE, "", actor="system:payment")

        self.write(found)

    def paid(self) -> None:
        self.submitted()
        purchase = self.purchase()
        self.write(
            lambda tx: endings.conclude_paid(
                tx, purchase, attempts.submitted(tx, [purchase.id])[purchase.id], PRICE_FEN, actor="system:payment"
            )
        )

    def gave_up(self, step: Step, reason: Reason = Reason.CRASH_LOOP) -> int:
        """A stage gave up on the order's row of this step; the id of the dead letter."""
        generation = self.purchase().generation
        row = self.read(lambda tx: work.find(tx, [work.work_key(ORDER_NO, generation, step)]))[0]
        self.write(lambda tx: setbacks.give_up(tx, row, reason, "", actor="system:test"))
        return int(self.letter()["id"])

    def told(self) -> None:
        """The agent took the pending callback."""

        def deliver(tx: Transaction) -> None:
            pending = callbacks.latest_pending(tx, ORDER_NO)
            assert pending is not None
            callbacks.record_call(tx, pending.id, 200, '{"ret":true}', delivered=True)
            work.remove(tx, [work.work_key(ORDER_NO, 0, Step.TELL)])

        self.write(deliver)

    def refused_password(self, times: int = 1) -> None:
        def refuse(tx: Transaction) -> None:
            accounts.know(tx, ACCOUNT)
            for number in range(times):
                accounts.count_tries(tx, [(ACCOUNT, f"fingerprint {number}")])
                accounts.refuse_credential(tx, ACCOUNT, f"fingerprint {number}", self.clock.moment)

        self.write(refuse)

    def letter(self) -> Json:
        """The newest dead letter."""
        return max(self.read(list_letters), key=lambda letter: int(letter["id"]))

    def replay(self, letter_id: int, **more: Any) -> operations.ReplayResult:
        return self.write(lambda tx: operations.replay(tx, letter_id, ANN, self.rules, **more))

    def plan(self, letter_id: int) -> operations.ReplayPlan:
        return self.read(lambda tx: operations.would_replay(tx, dead_letters.by_ids(tx, [letter_id])[0], self.rules))

    def order(self) -> Json:
        found = self.read(lambda tx: show_order(tx, ORDER_NO))
        assert found is not None
        return found


def _stage(key: str) -> str:
    parts = split_key(key)
    assert parts is not None
    return work.STAGE_OF[parts[2]]


@contextmanager
def desk_at(url: str) -> Iterator[Desk]:
    """A desk on an empty database."""
    clock = StillClock()
    store = open_store(url, clock)
    try:
        create_tables(store.engine)
        yield Desk(store, clock)
    finally:
        store.close()
