"""Announcements, sub-accounts, 12306 accounts in trouble and orders of many days: something in every column of these pages."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from pipeline import operations
from pipeline.operations_announcements import publish_announcement, withdraw_announcement
from pipeline.operations_users import add_sub_account, disable_user
from pipeline.reasons import Reason
from pipeline.secret import Secret
from pipeline.store import accounts, users
from pipeline.store.engine import Transaction
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, House

DAY_US = 86_400_000_000
DAYS = 24
NEWS = (
    (
        "代付密码统一设置提醒",
        "请保证全部账户使用统一密码，以保证代付成功率。\n修改 12306 密码后, 请立即在“代付设置”修改。",
    ),
    ("元旦假期值班安排", "1 月 1 日至 3 日照常代付, 人工处理出票异常的时间为 8:00 至 22:00。"),
    ("12306 今晚维护", "23:00 至次日 5:00 系统维护, 期间提交的代付请求在维护结束后处理; 占座期限已过的不能代付。"),
    ("测试公告", "请忽略。"),
)


def make_people(house: House) -> None:
    """What these pages show on a usual day."""
    mine, others = (Orders(house.store, code, house.desk.vault_key) for code in (AGENT, OTHER_AGENT))
    for orders in (mine, others):
        orders.made += ["-"] * 700
        orders.set_up()
    for days in range(DAYS):
        for number in range(1 + (days * 5) % 4):
            for orders in (mine, others)[: 1 + number % 2]:
                made = (orders.settled, orders.paid, orders.held_unpaid, orders.settled)[(days + number) % 4]()
                house.write(lambda tx, us=days * DAY_US, no=made: _came_ago(tx, no, us))
    made = mine.abnormal(Reason.NOT_ISSUED)
    house.write(lambda tx: _came_ago(tx, made, 2 * DAY_US))
    house.write(lambda tx: _people(tx, house))


def _came_ago(tx: Transaction, order_no: str, us: int) -> None:
    tx.run(text("UPDATE orders SET created_at = created_at - :us WHERE order_no = :o"), {"us": us, "o": order_no})


def _people(tx: Transaction, house: House) -> None:
    for title, words in NEWS:
        published = publish_announcement(tx, title, words, "human:bob")
    withdraw_announcement(tx, published, "发错了", "human:alice")
    carol = users.by_name(tx, "carol")
    assert carol is not None
    for name in ("clerk-zhang", "clerk-li"):
        add_sub_account(tx, carol.id, name, "human:carol")
    disable_user(tx, "clerk-li", "离职", "human:carol")
    logins = ("user701", "user702", "user703", "user704")
    accounts.know(tx, *logins)
    for n in range(accounts.MAX_REFUSED_TRIES):
        accounts.count_tries(tx, [(logins[0], f"print{n}")])
        accounts.refuse_credential(tx, logins[0], f"print{n}", house.clock.now())
    accounts.lock(tx, logins[1], house.clock.now() + timedelta(hours=2))
    operations.set_password(tx, AGENT, Secret("invented"), house.desk.vault_key, "human:bob", login=logins[2])
    operations.pause(tx, operations.Scope.ACCOUNT, logins[3], "密码待改", "human:bob")
