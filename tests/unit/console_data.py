"""Orders in every state for the console, made by the pipeline's own functions; names and numbers of people are invented."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from zlib import crc32

from consumers.credentials import Credentials
from consumers.settlement import Settlement
from pipeline import endings, operations
from pipeline.acceptance import Limits, accept, accept_all
from pipeline.endings import Paid
from pipeline.matching import SHANGHAI
from pipeline.reasons import Reason
from pipeline.secret import Secret
from pipeline.stage import OneTransaction
from pipeline.states import PurchaseState
from pipeline.store import attempts, callbacks, orders, work
from pipeline.store.attempts import Intent
from pipeline.store.engine import Row, Store, Transaction
from pipeline.store.work import Step, work_key
from pipeline.vault import Sealer
from schemas.am_messages import parse
from tests.unit.message_samples import NEED_PAY, ORDER, TICKET, body

T = TypeVar("T")
ACTOR = "human:setup"
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
FARE_FEN, PRICE_FEN = 128_400, 124_100


@dataclass
class Orders:
    """Makes orders of one agent, each with a number, a hold and a 12306 account of its own."""

    store: Store
    agent: str
    vault_key: Sealer
    words: str = "张三"  # the contact's and a passenger's name
    made: list[str] = field(default_factory=list)

    def write(self, task: Callable[[Transaction], T]) -> T:
        return self.store.write(task).value

    def set_up(self, fund_fen: int = 5_000_000) -> None:
        """A procurement fund and one password for all accounts."""
        password = Secret("not a real password")
        self.write(lambda tx: operations.top_up_fund(tx, self.agent, fund_fen, "首次充值", ACTOR))
        self.write(lambda tx: operations.set_password(tx, self.agent, password, self.vault_key, ACTOR))

    def paid(self, **changes: Any) -> str:
        """已支付, no purchase yet. Returns the order's number."""
        number = len(self.made) + 1
        now = self.store.clock.now().astimezone(SHANGHAI)
        order_no = f"{self.agent}{now:%y%m%d%H%M%S}{number:04d}"
        data = ORDER | {
            "order_no": order_no,
            "agent": self.agent,
            "departure_at": (now + timedelta(days=12)).isoformat(timespec="seconds"),
            "ordered_at": now.isoformat(timespec="seconds"),
            "paid_at": now.isoformat(timespec="seconds"),
            "contact": {"name": self.words, "phone": "00000000000", "email": ""},
            "passengers": [{"name": self.words, "id_type": "1", "id_no": "000000190001010000", "ticket_type": "1"}],
        }
        self._send("order.paid", order_no, data | changes)
        self.made.append(order_no)
        return order_no

    def many(self, count: int) -> None:
        """So many more, 已支付, in one transaction; they are not among `made`."""
        now = self.store.clock.now().astimezone(SHANGHAI)
        messages = []
        for number in range(count):
            order_no = f"{self.agent}M{number:06d}"
            data = ORDER | {
                "order_no": order_no,
                "agent": self.agent,
                "train_no": f"K{number % 40}",
                "departure_at": (now + timedelta(days=1 + number % 22, hours=1)).isoformat(timespec="seconds"),
                "ordered_at": (now - timedelta(minutes=number)).isoformat(timespec="seconds"),
                "contact": {"name": f"客{number}", "phone": f"100{number:08d}", "email": ""},
            }
            sent = body("order.paid", data, id=f"many:{order_no}", subject=order_no, time=now.isoformat())
            messages.append(parse(sent))
        self.write(lambda tx: accept_all(tx, messages, Limits(1200.0, 300.0), origin="queue"))

    def requested(self, order: dict[str, Any] | None = None, **changes: Any) -> str:
        """采购中: its purchase is accepted and its password known."""
        order_no = self.paid(**(order or {}))
        data = NEED_PAY | {"order_no": order_no, "agent": self.agent, "account": f"user{len(self.made):03d}"}
        hold = f"E{self.number(order_no)}"
        data |= {"held_order_no": hold, "tickets": [TICKET | {"ticket_no": hold}]}
        data |= {"password_sealed": self.vault_key.seal("invented")}
        self._send("purchase.need_pay", order_no, data | changes)
        self.run(order_no, Step.CREDENTIALS)
        return order_no

    def held_unpaid(self, reason: Reason = Reason.INSUFFICIENT_FUNDS, detail: str = "") -> str:
        """占座成功未支付, with its dead letter."""
        order_no = self.requested()
        self.end(order_no, reason, detail)
        return order_no

    def end(self, order_no: str, reason: Reason, detail: str = "") -> None:
        """Its latest purchase ends before its intent, with a dead letter."""
        purchase = self.purchase(order_no)
        self.write(
            lambda tx: endings.end_before_intent(tx, purchase, reason, detail, stage="payment", actor="system:payment")
        )

    def in_doubt(self) -> str:
        """支付结果核实中: submitted, and nobody knows yet."""
        order_no = self.requested()
        purchase = self.purchase(order_no)
        self.write(lambda tx: self._submit(tx, purchase))
        return order_no

    def abnormal(self, reason: Reason = Reason.OUTCOME_UNKNOWN) -> str:
        """支付完成,出票异常, with its task."""
        order_no = self.in_doubt()
        purchase = self.purchase(order_no)

        def conclude(tx: Transaction) -> None:
            attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
            endings.conclude_abnormal(tx, purchase, attempt, reason, "", actor="system:relay")

        self.write(conclude)
        return order_no

    def found_paid(self) -> str:
        """支付完成,出票异常: 12306 lists the hold as paid, and nothing of this purchase was submitted."""
        order_no = self.requested()
        purchase = self.purchase(order_no)

        def conclude(tx: Transaction) -> None:
            orders.move(tx, purchase.id, PurchaseState.READY, PurchaseState.PAYING)
            moved = orders.load_purchases(tx, [purchase.id])[purchase.id]
            endings.conclude_abnormal(tx, moved, None, Reason.PAID_ELSEWHERE, "", actor="system:payment")

        self.write(conclude)
        return order_no

    def settled(self) -> str:
        """出票完成, settled, and the agent was told."""
        order_no = self.in_doubt()
        purchase = self.purchase(order_no)

        def conclude(tx: Transaction) -> None:
            attempt = attempts.submitted(tx, [purchase.id])[purchase.id]
            tickets = [TICKET | {"ticket_no": purchase.held_order_no, "passenger_name": self.words}]
            paid = Paid(purchase, attempt, PRICE_FEN, tickets=tickets)
            endings.conclude_all_paid(tx, [paid], actor="system:payment")

        self.write(conclude)
        self.run(order_no, Step.SETTLE)
        self.write(lambda tx: self._tell(tx, order_no))
        return order_no

    def one_of_each(self) -> list[str]:
        """One order in each state; their numbers."""
        self.paid()
        for make in (self.requested, self.held_unpaid, self.in_doubt, self.abnormal, self.settled):
            make()
        return self.made

    def number(self, order_no: str) -> str:
        return f"{crc32(order_no.encode()) % 10**9:09d}"

    def purchase(self, order_no: str) -> Row[Any]:
        def find(tx: Transaction) -> Row[Any]:
            key = orders.load(tx, [order_no])[order_no].purchase_id
            return orders.load_with_passwords(tx, [key])[key]

        return self.store.read(find)

    def run(self, order_no: str, step: Step) -> None:
        """What a stage without calls does for this order now."""
        stage: OneTransaction = Credentials() if step is Step.CREDENTIALS else Settlement()
        self.write(lambda tx: stage.transact(tx, [work_key(order_no, 1, step)]))

    def _send(self, kind: str, order_no: str, data: dict[str, Any]) -> None:
        now: datetime = self.store.clock.now()
        message = parse(body(kind, data, id=f"{kind}:{order_no}", subject=order_no, time=now.isoformat()))
        answer = self.write(lambda tx: accept(tx, message, Limits(1200.0, 300.0), origin="queue"))
        assert answer.result in ("accepted", "stored", "recorded", "done"), answer

    def _submit(self, tx: Transaction, purchase: Row[Any]) -> None:
        orders.move(tx, purchase.id, PurchaseState.READY, PurchaseState.PAYING)
        attempt = attempts.open_attempt(tx, purchase.id, purchase.order_no, purchase.generation, purchase.login, 1)
        deadline = self.store.clock.now() + timedelta(minutes=30)
        intent = Intent(
            attempt, 1, purchase.id, purchase.order_no, purchase.generation, self.agent, purchase.login,
            purchase.held_order_no, f"T{self.number(purchase.order_no)}", PRICE_FEN,
            deadline, deadline + timedelta(minutes=5), purchase.stop_at,
        )  # fmt: skip
        assert attempts.record_intent(tx, intent) is None
        work.remove(tx, [work_key(purchase.order_no, purchase.generation, Step.PAY)])
        work.add(tx, purchase.order_no, purchase.generation, Step.ASK, urgency=purchase.stop_at)
        orders.move(tx, purchase.id, PurchaseState.PAYING, PurchaseState.IN_DOUBT)

    def _tell(self, tx: Transaction, order_no: str) -> None:
        pending = callbacks.latest_pending(tx, order_no)
        assert pending is not None
        callbacks.record_call(tx, pending.id, 200, '{"ret":true}', delivered=True)
        work.remove(tx, [work_key(order_no, 0, Step.TELL)])
