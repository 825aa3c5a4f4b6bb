"""资金, 销售明细报表 and 对账 over HTTP: sums that are the ledger's, files that open and add up, acts that happen once."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import text

from pipeline.matching import SHANGHAI
from pipeline.refunds import book_refunds
from pipeline.spreadsheet import cell
from pipeline.store import inbox
from tests.unit.bill_world import Moved, account_bill, day_of
from tests.unit.console_data import FARE_FEN, PRICE_FEN, Orders
from tests.unit.console_house import AGENT, OTHER_AGENT, Answer, Browser, House, console_at

SPREADSHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
REFUND_FEN = 41_300


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two agents; of the first three settled orders, one refunded, one abnormal and one that waits to be paid."""
    folder = tmp_path_factory.mktemp("money")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        mine = Orders(house.store, AGENT, house.desk.vault_key)
        mine.set_up()
        sold = [mine.settled() for _ in range(3)]
        mine.abnormal()
        mine.requested()
        house.write(lambda tx: inbox.remember_refund(tx, sold[0], "r1", AGENT, REFUND_FEN, house.clock.now()))
        house.write(lambda tx: book_refunds(tx, sold[:1]))
        house.write(lambda tx: tx.run(text("UPDATE attempts SET login = '=1+1' WHERE order_no = :o"), {"o": sold[0]}))
        others = Orders(house.store, OTHER_AGENT, house.desk.vault_key)
        others.set_up(100_000)
        others.requested()
        yield house


@pytest.fixture
def bob(house: House) -> Browser:
    return house.signed_in("bob")


@pytest.fixture
def carol(house: House) -> Browser:
    return house.signed_in("carol")


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert answer.body.startswith("\ufeff".encode())
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))


def sheet_of(answer: Answer) -> list[list[Any]]:
    """The cells of the first sheet: texts, and numbers as numbers."""
    with zipfile.ZipFile(io.BytesIO(answer.body)) as book:
        assert not [name for name in book.namelist() if "calcChain" in name]
        root = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - written by ourselves  # noqa: S314 - written by ourselves
    assert root.find(f".//{SPREADSHEET}f") is None, "no cell is a formula"
    rows = []
    for row in root.iter(f"{SPREADSHEET}row"):
        cells: list[Any] = []
        for one in row:
            found = "".join(
                part.text or "" for part in one.iter() if part.tag in (f"{SPREADSHEET}t", f"{SPREADSHEET}v")
            )
            cells.append(found if one.get("t") == "inlineStr" else float(found))
        rows.append(cells)
    return rows


def test_the_sales_file_opens_adds_up_and_is_the_page(house: House, bob: Browser) -> None:
    seen = bob.get("/api/v1/reports/sales").json
    sums = {"rows": 4, "fare_fen": 4 * FARE_FEN, "paid_fen": 4 * PRICE_FEN, "refund_fen": REFUND_FEN}
    sums |= {"partial_refund_fen": 3 * (FARE_FEN - PRICE_FEN), "unfrozen_fen": 3 * PRICE_FEN}
    assert seen["sums"] == sums
    *rows, last = rows_of(bob.get("/reports/sales.csv"))
    assert len(rows) == 4
    assert [row["订单号"] for row in rows] == [row["order_no"] for row in seen["rows"]]
    for title, name in (
        ("采购金额", "paid_fen"),
        ("部分退款", "partial_refund_fen"),
        ("退款", "refund_fen"),
        ("解冻", "unfrozen_fen"),
    ):
        fen = [round(float(row[title]) * 100) for row in (*rows, last)]
        assert (sum(fen[:-1]), fen[-1]) == (seen["sums"][name], seen["sums"][name])
    today = house.clock.now().astimezone(SHANGHAI).date().isoformat()
    assert {(row["采购日期"], row["支付方式"]) for row in rows} == {(today, "支付宝")}
    assert {row["状态"] for row in rows} == {"出票完成", "采购失败"}
    assert rows[0]["登录账号"] == "'=1+1"


def test_the_sales_workbook_opens_and_adds_up(bob: Browser) -> None:
    answer = bob.get("/reports/sales.xlsx")
    assert answer.header("content-type") == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.-]+\.xlsx", answer.header("content-disposition") or "")
    head, *rows, last = sheet_of(answer)
    place = head.index("采购金额")
    assert [row[place] for row in rows] == [1241.0] * 4
    assert last[0] == "合计"
    assert 4964.0 in last
    assert rows[0][head.index("登录账号")] == "=1+1"  # text: a workbook says which cells are formulas


def test_a_day_is_a_day_in_shanghai(house: House, bob: Browser) -> None:
    today = house.clock.now().astimezone(SHANGHAI).date()
    yesterday = today - timedelta(days=1)
    midnight = house.clock.now().astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    move = text("UPDATE attempts SET submitted_at = :us WHERE id = (SELECT min(id) FROM attempts WHERE proof = 'paid')")
    at = round(midnight.timestamp() * 1_000_000)
    for us, day in ((at - 1, yesterday), (at, today)):
        house.write(lambda tx, us=us: tx.run(move, {"us": us}))
        found = bob.get(f"/api/v1/reports/sales?since={day}&until={day}").json
        assert (found["sums"]["rows"], found["rows"][0]["bought_on"]) == (1 if day == yesterday else 4, day.isoformat())
    assert bob.get(f"/api/v1/reports/sales?since={today + timedelta(days=1)}").json["rows"] == []


def test_an_agent_sees_its_own_money_alone(house: House, carol: Browser) -> None:
    assert [one["agent"] for one in carol.get("/api/v1/funds").json] == [AGENT]
    assert carol.get(f"/api/v1/funds/{OTHER_AGENT}").status == 404
    assert carol.get(f"/api/v1/funds/{OTHER_AGENT}/statement").status == 404
    assert [one["agent"] for one in carol.get("/api/v1/trial-balance").json["agents"]] == [AGENT]
    assert {
        row["代理商"] for row in rows_of(carol.get(f"/reports/sales.csv?agent={OTHER_AGENT}")) if row["代理商"]
    } == {AGENT}
    assert "/top-up" not in carol.get("/funds").text
    top_up = {"fen": 1, "reason": "x", "once": "abcdefgh"}
    assert (
        carol.send_json("POST", f"/api/v1/funds/{AGENT}/top-up", top_up, **{"x-csrf-token": carol.csrf}).status == 403
    )


def test_the_statement_is_the_ledger(house: House, bob: Browser) -> None:
    fund = bob.get(f"/api/v1/funds/{AGENT}").json
    seen = bob.get(f"/api/v1/funds/{AGENT}/statement").json
    assert (seen["opening_fen"], seen["closing_fen"]) == (0, fund["procurement_fen"])
    assert seen["rows"][-1]["balance_fen"] == fund["procurement_fen"]
    assert [row["note"] for row in seen["rows"] if row["kind"] == "top_up"] == ["首次充值"]
    page = bob.get(f"/funds/{AGENT}?account=in_flight").text
    assert "期初余额" in page
    assert "采购在途" in page


def test_a_fund_that_will_not_do_is_told_before_orders_fail(house: House, bob: Browser) -> None:
    levels = {one["agent"]: (one["waiting"], one["level"]) for one in bob.get("/api/v1/funds").json}
    assert levels == {AGENT: (1, "fine"), OTHER_AGENT: (1, "short")}
    assert "还差 241.00 元" in bob.get("/funds").text
    dave = house.signed_in("dave")
    assert "采购资金不足" in dave.get("/funds").text


def test_a_top_up_that_is_sent_twice_is_booked_once(house: House, bob: Browser) -> None:
    once = re.search(r'name="once" value="([^"]+)"', bob.get(f"/funds/{AGENT}").text)
    assert once
    before = bob.get(f"/api/v1/funds/{AGENT}").json["procurement_fen"]
    form = {"amount": "1,000.50", "reason": "银行到账", "once": once[1]}
    assert bob.post(f"/funds/{AGENT}/top-up", form).goes_to == f"/funds/{AGENT}"
    refused = bob.post(f"/funds/{AGENT}/top-up", form)
    assert (refused.status, "没有再记一次" in refused.text) == (409, True)
    assert bob.get(f"/api/v1/funds/{AGENT}").json["procurement_fen"] == before + 100_050
    log = bob.get("/audit-log?kind=funds").text
    assert "采购资金充值" in log
    assert "银行到账" in log


@pytest.mark.parametrize("amount", ["", "0x1", "-5", "1.234", "9999999999", "１２"])
def test_an_amount_that_is_none_is_refused(bob: Browser, amount: str) -> None:
    assert bob.post(f"/funds/{AGENT}/top-up", {"amount": amount, "reason": "x", "once": "abcdefgh"}).status == 422


def test_a_bill_is_uploaded_compared_noted_and_closed(house: House, bob: Browser, carol: Browser) -> None:
    sold = bob.get("/api/v1/reports/sales").json["rows"]
    begins, ends = day_of(house.clock.now())
    lines = [Moved(row["trade_no"], row["paid_fen"], house.clock.now(), f"{place}") for place, row in enumerate(sold)]
    lines[1] = Moved(lines[1].trade_no, PRICE_FEN + 500, lines[1].at, "1")
    lines.append(Moved("nobody's", 77, house.clock.now(), "99"))
    content = account_bill(lines, begins, ends).encode("gbk")
    for _ in range(2):
        answer = upload(bob, content)
        assert answer.goes_to.startswith("/reconciliation/bills/")
    page = bob.get(answer.goes_to).text
    assert "没有重复记账" in page
    breaks = bob.get("/api/v1/reconciliation/breaks").json["rows"]
    assert [(one["kind"], one["here_fen"], one["there_fen"]) for one in breaks] == [
        ("differs", PRICE_FEN, PRICE_FEN + 500),
        ("only_there", None, 77),
    ]
    assert [one["id"] for one in carol.get("/api/v1/reconciliation/breaks").json["rows"]] == [breaks[0]["id"]]
    assert carol.get(f"/reconciliation/breaks/{breaks[1]['id']}").status == 404
    assert upload(carol, content).status == 403
    differs = breaks[0]
    assert bob.post(f"/reconciliation/breaks/{differs['id']}/note", {"note": "问过铁路"}).status == 303
    assert "问过铁路" in bob.get(f"/reconciliation/breaks/{differs['id']}").text
    assert "问过铁路" not in carol.get(f"/reconciliation/breaks/{differs['id']}").text
    task = bob.get(f"/tasks/{differs['task_id']}").text
    assert f"/reconciliation/breaks/{differs['id']}" in task
    assert "5.00" in task
    closed = {"resolution": "多扣已退回", "evidence": "次日账单第 6 行"}
    assert bob.post(f"/tasks/{differs['task_id']}/close", closed).status == 303
    assert bob.get(f"/api/v1/reconciliation/breaks/{differs['id']}").json["closed_by"] == "human:bob"
    free = breaks[1]["task_id"]
    assert bob.post(f"/tasks/{free}/close", closed).status == 303  # no order: no story to tell
    assert bob.get("/api/v1/reconciliation").json["open"] == []


def test_a_bill_that_can_not_be_read_is_refused_in_words(bob: Browser) -> None:
    answer = upload(bob, "第一行\n".encode("gbk"))
    assert answer.status == 409
    assert "没有找到列名所在的行" in answer.text


def upload(browser: Browser, content: bytes) -> Answer:
    border = "border"
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{browser.csrf}\r\n'.encode(),
        f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="bill.csv"\r\nContent-Type: text/csv\r\n\r\n'.encode(),
        content,
        f"\r\n--{border}--\r\n".encode(),
    ]
    headers = {"content-type": f"multipart/form-data; boundary={border}"}
    return browser._send("POST", "/reconciliation/bills", b"".join(parts), headers)


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1", "　=1"])
def test_what_could_be_a_formula_is_defused(value: str) -> None:
    assert cell(value) == f"'{value}"


@pytest.mark.parametrize("value", ["", "E646076788", "硬卧中(1)", "a=b", "12306"])
def test_what_is_no_formula_stays_as_it_is(value: str) -> None:
    assert cell(value) == value
