"""A desk with something in every column: dead letters of many reasons, jobs in every state, closings that wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pipeline import operations
from pipeline.executors import InlineExecutor
from pipeline.operations import Fate
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from pipeline.store import callbacks, dead_letters, orders, work
from pipeline.store.engine import Transaction
from pipeline.store.queries_letters import LetterFilter
from pipeline.store.work import Step
from tests.browser.site import Site
from tests.unit import message_samples
from tests.unit.console_data import PRICE_FEN, Orders
from tests.unit.console_house import AGENT, OTHER_AGENT

BOB, ALICE = "human:bob", "human:alice"
WORDS = {
    Reason.PAY_REFUSED: "收银台: 余额不足, 交易关闭",
    Reason.PRICE_MISMATCH: "占座 1241.00 元, 请求 1240.00 元",
    Reason.ORDER_MISMATCH: "席别不符: 占座 硬座, 订单 硬卧",
}


class DeskData:
    def __init__(self, site: Site) -> None:
        self.house, self.clock = site.house, site.house.clock
        self.mine = Orders(site.house.store, AGENT, site.house.desk.vault_key, made=list(site.orders))
        self.others = Orders(site.house.store, OTHER_AGENT, site.house.desk.vault_key, made=list(site.orders))
        self.count = 0
        self.runner = ReplayRunner(site.house.store, InlineExecutor(), site.house.desk.replay_rules, site.house.clock)

    def fill(self) -> dict[str, str]:
        """Addresses of what was made, by name."""
        again, tried = self.ended(Reason.NOT_SENT), self.ended(Reason.NOT_SENT)
        for reason in (Reason.PAY_REFUSED, Reason.ORDER_MISMATCH, Reason.HOLD_EXPIRED, Reason.HOLD_EXPIRED):
            self.ended(reason)
        for _ in range(4):
            self.told(self.ended(Reason.PAY_REFUSED))
        self.write(lambda tx: operations.note(tx, tried, "已电话联系代理商王经理, 等回复", BOB))
        places = {"raw": str(self.unreadable()), "letter": str(tried), "refused": str(self.ended(Reason.HOLD_EXPIRED))}
        places["job_done"] = str(self.job_that_failed_again(again))
        places["job_running"] = str(self.job_half_way())
        places["job_checked"] = str(self.job(LetterFilter()))
        places["abnormal_pending"] = self.proposed()
        return places

    def write(self, task: Any) -> Any:
        return self.house.write(task)

    def ended(self, reason: Reason) -> int:
        """A dead letter with a deadline; its id."""
        self.count += 1
        by = self.others if self.count % 4 == 0 else self.mine
        order_no = by.requested()
        purchase = by.purchase(order_no)
        deadline = self.clock.now() + timedelta(minutes=20 + len(by.made))
        self.write(lambda tx: orders.update_purchase(tx, purchase.id, hold_deadline=deadline))
        by.end(order_no, reason, WORDS.get(reason, ""))
        return int(self.house.read(lambda tx: dead_letters.open_of(tx, order_no))[0].id)

    def told(self, letter_id: int) -> None:
        def deliver(tx: Transaction) -> None:
            order_no = dead_letters.by_ids(tx, [letter_id])[0].order_no
            pending = callbacks.latest_pending(tx, order_no)
            assert pending is not None
            callbacks.record_call(tx, pending.id, 200, '{"ret":true}', delivered=True)
            work.remove(tx, [work.work_key(order_no, 0, Step.TELL)])

        self.write(deliver)

    def unreadable(self) -> int:
        body = message_samples.body("order.paid", message_samples.ORDER | {"trip": "simple"})
        row = {"uid": "raw", "stage": "intake", "reason": "poison", "attempts": 1, "state": "open", "detail":
               "data.trip: Input should be 'single' or 'joint'"}  # fmt: skip
        times = {"first_at": self.clock.now(), "last_at": self.clock.now()}
        sealed = self.house.desk.service_keys.public.seal(body)
        self.write(lambda tx: dead_letters.add_raw(tx, [row | times | {"body_sealed": sealed}]))
        return int(self.house.read(lambda tx: dead_letters.find(tx, stage=None, reason="poison", state=None))[0].id)

    def job(self, wanted: LetterFilter | None = None, ids: tuple[int, ...] = ()) -> int:
        job_id: int = self.write(lambda tx: operations.make_job(tx, BOB, wanted, ids))
        self.runner.round()
        return job_id

    def job_that_failed_again(self, letter_id: int) -> int:
        job_id = self.job(ids=(letter_id,))
        self.write(lambda tx: operations.start_job(tx, job_id, BOB, 5.0))
        self.runner.round()
        order_no = self.house.read(lambda tx: dead_letters.by_ids(tx, [letter_id])[0].order_no)
        of = self.mine if order_no in self.mine.made else self.others
        of.end(order_no, Reason.NOT_SENT)
        return job_id

    def job_half_way(self) -> int:
        job_id = self.job(LetterFilter(reason="pay_refused", stage="payment"))
        self.write(lambda tx: operations.start_job(tx, job_id, ALICE, 0.02, "王经理 14:05 电话同意"))
        self.runner.round()
        self.clock.move(50)
        self.runner.round()
        return job_id

    def proposed(self) -> str:
        order_no = self.mine.abnormal(Reason.NOT_ISSUED)
        self.mine.abnormal(Reason.PAID_ELSEWHERE)
        limit = self.house.desk.settings.four_eyes_fen
        words = "12306 客服 14:20 确认已出票, 票号 E646076788; 支付宝账单第 3 行"
        self.write(
            lambda tx: operations.close_abnormal(
                tx, order_no, Fate.TICKETED, PRICE_FEN, words, BOB, four_eyes_fen=min(limit, PRICE_FEN - 1)
            )
        )
        return order_no
