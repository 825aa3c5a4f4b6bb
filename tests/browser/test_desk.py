"""The dead-letter desk in a real browser: found, tried dry, replayed, stopped, discarded and restored, closed by two persons."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from pipeline.executors import InlineExecutor
from pipeline.reasons import Reason
from pipeline.replay_runner import ReplayRunner
from tests.browser.site import Site, follow, site_at
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console where a purchase of usual size needs a second person to be closed."""
    with site_at(tmp_path_factory.mktemp("desk"), four_eyes_fen=100_000) as site:
        yield site


@pytest.fixture(scope="module")
def orders(site: Site) -> Orders:
    return Orders(site.house.store, AGENT, site.house.desk.vault_key, made=list(site.orders))


@pytest.fixture(scope="module")
def runner(site: Site) -> ReplayRunner:
    """Whoever runs jobs; each test says when."""
    return ReplayRunner(site.house.store, InlineExecutor(), site.house.desk.replay_rules, site.house.clock)


def test_found_by_its_group_it_says_why_it_may_not_be_replayed(page: Page, site: Site) -> None:
    site.sign_in(page, "bob")
    page.goto("/dead-letters")
    page.get_by_role("link", name="占座已过支付期限").click()
    page.get_by_role("link", name=AGENT).first.click()
    verdict = page.get_by_role("region", name="试算")
    expect(verdict).to_contain_text("不能重放。占座已过支付期限")
    expect(page.get_by_role("button", name="确认重放")).to_have_count(0)
    expect(page.locator(".story")).to_contain_text("占座成功未支付")


def test_searched_for_and_replayed_alone_after_its_dry_run(page: Page, site: Site, orders: Orders) -> None:
    order_no = orders.held_unpaid(Reason.NOT_SENT)
    site.sign_in(page, "bob")
    page.goto("/dead-letters")
    page.get_by_label("订单号或12306订单号").fill(order_no)
    page.get_by_role("button", name="查询").click()
    page.get_by_role("link", name=order_no).click()
    expect(page.get_by_role("region", name="试算")).to_contain_text("开始第 2 次代付")
    page.locator("summary", has_text="重放").click()
    page.get_by_role("button", name="确认重放").click()
    expect(page.get_by_role("status")).to_contain_text("已重放")
    expect(page.locator(".story")).to_contain_text("bob")


def test_a_selection_is_tried_dry_started_watched_and_stopped_half_way(
    page: Page, site: Site, orders: Orders, runner: ReplayRunner
) -> None:
    for _ in range(3):
        orders.held_unpaid(Reason.PAY_REFUSED)
    site.sign_in(page, "bob")
    page.goto("/dead-letters?reason=pay_refused")
    page.get_by_label("勾选本页").check()
    page.get_by_role("button", name="试算重放所选").click()
    expect(page.get_by_role("heading", name="开始重放 3 条")).to_be_visible()
    page.get_by_label("每秒条数").fill("0.02")
    page.get_by_role("button", name="开始重放").click()
    expect(page.locator("#job")).to_contain_text("重放中")
    runner.round()
    expect(page.locator("#job .tally")).to_contain_text("1已重放")  # the page updates by itself
    page.locator("summary", has_text="停止").click()
    page.get_by_role("button", name="确认停止").click()
    expect(page.locator("#job .tally")).to_contain_text("2没有轮到")
    page.get_by_role("link", name="没有轮到").click()
    expect(page.get_by_role("row")).to_have_count(3)


def test_discarded_restored_and_noted(page: Page, site: Site, orders: Orders) -> None:
    order_no = orders.held_unpaid(Reason.ORDER_MISMATCH)
    site.sign_in(page, "bob")
    page.goto(f"/dead-letters?text={order_no}")
    page.get_by_role("checkbox", name="勾选死信").check()
    page.locator("summary", has_text="丢弃所选").click()
    page.get_by_label("丢弃理由").fill("代理商已另行购票")
    page.get_by_role("button", name="确认丢弃").click()
    expect(page.get_by_role("status")).to_contain_text("已丢弃 1 条")
    page.goto(f"/dead-letters?text={order_no}&state=discarded")
    follow(page.get_by_role("link", name=order_no))
    page.locator("summary", has_text="恢复").click()
    follow(page.get_by_role("button", name="确认").last)
    expect(page.get_by_role("status")).to_contain_text("已恢复")
    page.locator("summary", has_text="备注").click()
    page.get_by_label("备注").fill("等代理商回电")
    page.get_by_role("button", name="确认").first.click()
    expect(page.get_by_role("status")).to_contain_text("备注已保存")
    expect(page.get_by_role("main")).to_contain_text("等代理商回电")


def test_an_abnormal_is_closed_by_one_and_confirmed_by_another(
    page: Page, phone: Page, site: Site, orders: Orders
) -> None:
    order_no = orders.abnormal()
    site.sign_in(page, "bob")
    page.goto(f"/abnormal/{order_no}")
    page.get_by_label("已扣款, 已出票").check()
    page.get_by_label("实际扣款").fill("1241.00")
    page.get_by_label("凭据").fill("票号 E646076788, 支付宝账单第 3 行")
    page.locator("summary", has_text="结案…").click()
    page.get_by_role("button", name="提交复核").click()
    expect(page.get_by_role("region", name="等待复核")).to_contain_text("需要另一位主管复核")
    site.sign_in(phone, "alice")  # the supervisor is under way
    phone.goto(f"/abnormal/{order_no}")
    expect(phone.get_by_role("region", name="等待复核")).to_contain_text("支付宝账单第 3 行")
    phone.locator("summary", has_text="确认结案").tap()
    phone.get_by_label("复核凭据").fill("核对了账单和票号")
    phone.get_by_role("button", name="确认结案").tap()
    expect(phone.get_by_role("status")).to_contain_text("已复核并结案")
    expect(phone.get_by_role("main")).to_contain_text("没有等待结案的出票异常")


def test_a_replay_goes_by_keyboard_alone(page: Page, site: Site, orders: Orders) -> None:
    order_no = orders.held_unpaid(Reason.NOT_SENT)
    site.sign_in(page, "bob")
    page.goto(f"/dead-letters?text={order_no}")
    page.get_by_role("checkbox", name="勾选死信").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="试算重放所选").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="开始重放 1 条")).to_be_visible()
    page.get_by_label("每秒条数").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="开始重放")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("开始重放 1 条")
    page.locator("summary", has_text="停止").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="确认停止")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="确认停止")).to_be_hidden()


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/1", "/dead-letters/replays", "/abnormal"])
def test_on_a_phone_nothing_of_the_desk_is_wider_than_the_screen(phone: Page, site: Site, path: str) -> None:
    site.sign_in(phone, "bob")
    phone.goto(path)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
