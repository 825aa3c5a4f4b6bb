"""Tasks, pauses and the overview in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pipeline.operations import Scope, pause
from tests.browser.busy_day import make_busy
from tests.browser.site import Site


@pytest.fixture(scope="module")
def busy(site: Site) -> Site:
    make_busy(site.house)
    return site


def test_a_task_is_taken_and_handed_over_by_keyboard_alone(page: Page, busy: Site) -> None:
    busy.sign_in(page, "bob")
    page.goto("/tasks")
    kind = page.locator("select[name=kind]")
    kind.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(kind).to_have_value("callback_exhausted")
    page.get_by_role("button", name="查询").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="领取").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("已领取")
    page.get_by_text("转交", exact=True).first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("转给")).to_be_focused()
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("下班")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("已转交 alice")
    expect(page.locator("dl")).to_contain_text("alice")


def test_a_task_is_closed_with_what_was_found(page: Page, busy: Site) -> None:
    busy.sign_in(page, "bob")
    page.goto("/tasks?kind=recovered_hold")
    page.get_by_role("link", name="恢复后核实占座").last.click()
    page.get_by_label("查明的结果").select_option("未支付")
    page.get_by_label("凭据").fill("12306 未完成订单页")
    page.get_by_role("button", name="关闭任务").click()
    expect(page.get_by_role("status")).to_contain_text("已关闭")
    expect(page.locator("dl")).to_contain_text("未支付")


def test_an_account_is_paused_and_resumed_and_the_order_says_why(page: Page, busy: Site) -> None:
    busy.sign_in(page, "alice")
    page.goto("/controls")
    form = page.locator("form", has=page.get_by_role("button", name="暂停账号"))
    form.get_by_label("12306登录账号").fill("user002")
    form.get_by_label("理由").fill("账号被占用")
    form.get_by_role("button", name="暂停账号").click()
    expect(page.get_by_role("status")).to_contain_text("12306账号 user002 已暂停")
    page.goto(f"/orders/{busy.orders[1]}")  # the second order's account
    expect(page.get_by_role("note").filter(has_text="user002 已暂停: 账号被占用")).to_contain_text("alice")
    page.goto("/controls")
    row = page.get_by_role("row", name="user002")
    row.get_by_text("恢复", exact=True).click()
    row.get_by_label("理由").fill("已换密码")
    row.get_by_role("button", name="确认恢复").click()
    expect(page.get_by_role("status")).to_contain_text("已恢复")


def test_the_overview_updates_by_itself(page: Page, busy: Site) -> None:
    page.clock.install()
    busy.sign_in(page, "bob")
    page.goto("/overview")
    expect(page.get_by_role("heading", name="五个阶段")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("最近 24 小时"))).to_be_visible()
    expect(page.get_by_text("发车高峰")).to_have_count(0)
    link = page.get_by_role("table").first.get_by_role("link").first
    link.focus()
    busy.house.write(lambda tx: pause(tx, Scope.STAGE, "intake", "发车高峰", "human:alice"))
    page.clock.run_for(6_000)
    expect(page.get_by_role("note").filter(has_text="发车高峰")).to_be_visible()
    expect(link).to_be_focused()  # whoever goes by keyboard is not thrown back to the beginning
    page.route("**/overview", lambda route: route.abort())
    page.clock.run_for(6_000)
    expect(page.locator("#now.stale")).to_be_visible()


@pytest.mark.parametrize("path", ["/overview", "/tasks", "/tasks/1", "/controls"])
def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Page, busy: Site, path: str) -> None:
    busy.sign_in(phone, "alice")
    phone.goto(path)
    width = phone.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{path} is {width} wide"
