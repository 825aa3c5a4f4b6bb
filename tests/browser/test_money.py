"""资金, 销售明细报表 and 对账 in a real browser, with a thousand orders: for the agent and for who works here."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.money_data import MANY, make_bill, make_many
from tests.browser.site import Site, follow
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT

pytestmark = pytest.mark.usefixtures("busy")


@pytest.fixture(scope="module")
def busy(site: Site) -> Site:
    make_many(site.house)
    return site


def sum_of(rows: list[dict[str, str]], title: str) -> int:
    return sum(round(float(row[title]) * 100) for row in rows)


def test_an_operator_reads_the_report_and_its_file_adds_up(page: Page, site: Site) -> None:
    site.sign_in(page, "bob")
    page.goto("/reports/sales")
    expect(page.get_by_role("columnheader", name="12306订单号")).to_be_visible()
    page.get_by_label("采购日期从").fill("2014-01-01")
    page.get_by_label("代理商").select_option(AGENT)
    page.get_by_role("button", name="查询").click()
    totals = page.get_by_role("list", name="合计")
    expect(totals).to_contain_text(f"{MANY + 2:,}")  # and what the samples settled, and the abnormal one
    page.get_by_role("link", name="下一页").click()
    expect(page.get_by_role("link", name="第一页")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="下载 CSV").click()
    content = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    *rows, last = list(csv.DictReader(io.StringIO(content)))
    assert len(rows) == MANY + 2
    assert sum_of(rows, "采购金额") == sum_of([last], "采购金额")
    expect(totals).to_contain_text(f"{float(last['采购金额']):,.2f}")
    with page.expect_download() as download:
        page.get_by_role("link", name="下载 XLSX").click()
    assert download.value.suggested_filename.endswith(".xlsx")


def test_an_operator_tops_a_fund_up_and_the_statement_runs_on(page: Page, site: Site) -> None:
    site.sign_in(page, "bob")
    page.goto("/funds")
    page.get_by_role("link", name=AGENT).first.click()
    page.locator("summary", has_text="充值").click()
    page.get_by_label("金额 (元)").fill("12,345.67")
    page.get_by_label("理由").fill("11月18日银行到账")
    follow(page.get_by_role("button", name="确认充值"))
    expect(page.get_by_role("status")).to_contain_text("已充值 12345.67 元")
    ends = page.get_by_role("list", name="期初与期末")
    closing = ends.get_by_role("listitem").nth(3).inner_text()
    assert closing.split("\n")[0] in page.get_by_role("region", name="账户").inner_text()
    while page.get_by_role("link", name="下一页").count():
        follow(page.get_by_role("link", name="下一页"))
        if "11月18日银行到账" in page.inner_text("main"):
            break
    expect(page.get_by_role("row", name="11月18日银行到账")).to_contain_text("+12,345.67")
    page.goto("/trial-balance")
    expect(page.get_by_role("main")).to_contain_text("平衡")


def test_a_bill_is_uploaded_and_a_break_is_noted_taken_and_closed(page: Page, site: Site, tmp_path: Path) -> None:
    mine = Orders(site.house.store, AGENT, site.house.desk.vault_key)
    mine.made += ["-"] * 700
    file = tmp_path / "20141117.csv"
    file.write_bytes(make_bill(site.house, mine))
    site.sign_in(page, "bob")
    for said in ("新差异 4 个", "没有重复记账"):
        page.goto("/reconciliation")
        page.locator("summary", has_text="上传账单").click()
        page.get_by_label("账单文件").set_input_files(file)
        page.get_by_role("button", name="上传并核对").click()
        expect(page.get_by_role("status")).to_contain_text(said)
    page.get_by_role("link", name="没有对上 2").click()
    expect(page.get_by_role("row")).to_have_count(3)
    page.goto("/reconciliation?kind=differs")
    page.get_by_role("link", name="金额不同").last.click()
    page.get_by_label("查到哪里了").fill("已问支付宝, 等回复")
    follow(page.get_by_role("button", name="保存备注"))
    expect(page.get_by_role("status")).to_contain_text("备注已保存")
    page.get_by_role("link", name="任务").last.click()
    page.get_by_role("button", name="领取").click()
    page.get_by_label("结论").fill("改签差额")
    page.get_by_label("凭据").fill("账单第 11 行")
    page.get_by_role("button", name="关闭任务").click()
    page.goto("/reconciliation?state=closed")
    expect(page.get_by_role("row", name="改签差额")).to_contain_text("bob")


def test_an_agent_sees_its_own_money(page: Page, site: Site) -> None:
    site.sign_in(page, "carol")
    page.goto("/funds")
    expect(page.get_by_role("heading", name="资金", exact=True)).to_be_visible()
    expect(page.locator("summary", has_text="充值")).to_have_count(0)
    page.goto("/reports/sales")
    expect(page.get_by_label("代理商")).to_have_count(0)
    page.goto("/reconciliation")
    expect(page.get_by_role("heading", name="对账", exact=True)).to_be_visible()
    expect(page.get_by_text("上传账单")).to_have_count(0)
    expect(page.get_by_role("main")).not_to_contain_text("酒店")


@pytest.mark.parametrize(
    "path", ["/funds", f"/funds/{AGENT}", "/trial-balance", "/reports/sales?since=2014-01-01", "/reconciliation"]
)
def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Page, site: Site, path: str) -> None:
    site.sign_in(phone, "alice")
    phone.goto(path)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
