"""订单列表, 快捷搜索, 订单查看 and 回填 in a real browser, for an agent and an operator, with a thousand orders more."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from pipeline.reasons import Reason
from tests.browser.site import Site, follow, site_at
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT

MANY = 1_000
HELD = "“占座成功未支付”的订单可以线下登陆到12306处理,或重新接口导入AM系统请求代付"
ABNORMAL = "“支付完成,出票异常”的订单只能登陆12306核实,不能重新导回到AM、执行代付"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_at(tmp_path_factory.mktemp("orders")) as site:
        orders_of(site).many(MANY)
        yield site


def orders_of(site: Site) -> Orders:
    return Orders(site.house.store, AGENT, site.house.desk.vault_key, made=list(site.orders))


def counts(page: Page) -> dict[str, int]:
    """快捷搜索 as it stands there."""
    words = page.get_by_role("navigation", name="快捷搜索").get_by_role("link").all_inner_texts()
    return {text.partition("(")[0]: int(text.partition("(")[2].rstrip(")")) for text in words}


def rows(page: Page) -> int:
    return page.locator("table.orders tbody tr").count()


@pytest.mark.parametrize(("name", "all_"), [("carol", 9 + MANY), ("bob", 15 + MANY)])
def test_each_quick_search_lists_as_many_orders_as_it_counts(page: Page, site: Site, name: str, all_: int) -> None:
    site.sign_in(page, name)
    page.goto("/orders")
    shown = counts(page)
    assert list(shown) == [
        "已支付订单", "等待出票订单", "预售期外待出票订单", "申请退款订单", "全部", "紧急订单", "采购失败"
    ]  # fmt: skip
    assert shown["全部"] == all_
    for words in ("等待出票订单", "申请退款订单", "紧急订单", "采购失败"):
        follow(page.get_by_role("link", name=re.compile(f"^{words}")))
        expect(page.locator("[aria-current=true]")).to_contain_text(words)
        assert rows(page) == shown[words]
    follow(page.get_by_role("link", name=re.compile("^预售期外")))
    listed = rows(page)
    while page.get_by_role("link", name="下一页").count():
        follow(page.get_by_role("link", name="下一页"))
        listed += rows(page)
    assert listed == shown["预售期外待出票订单"] > 50


def test_an_order_is_found_among_the_thousand_by_what_its_user_says(page: Page, site: Site) -> None:
    site.sign_in(page, "carol")
    page.goto("/orders")
    page.get_by_label("联系人手机").fill("10000000777")
    page.get_by_role("button", name="提交").click()
    expect(page.locator("table.orders tbody tr")).to_have_count(1)
    expect(page.get_by_role("row", name=f"{AGENT}M000777")).to_contain_text("客**")
    page.get_by_role("link", name="查看").click()
    expect(page.get_by_role("region", name="联系人与费用")).to_contain_text("100********")
    expect(page.get_by_text("10000000777")).to_have_count(0)


def test_a_purchased_order_shows_its_payment_tickets_and_seats(page: Page, site: Site) -> None:
    order_no = site.orders[5]
    site.sign_in(page, "carol")
    page.goto(f"/orders/{order_no}")
    bought = page.get_by_role("region", name="采购")
    for words in ("采购完成", "12306订单号", "登陆账号", "¥1241.00", "支付宝", "支付时间"):
        expect(bought).to_contain_text(words)
    expect(page.get_by_role("region", name="乘车人")).to_contain_text("11车04号下铺")
    costs = page.get_by_role("region", name="联系人与费用")
    for words in ("¥1284.00", "¥60.00", "¥1344.00", "出票完成", "(第0程)", "硬卧下(1)", "¥43.00", "PC端"):
        expect(costs).to_contain_text(words)
    expect(page.locator(".story")).to_contain_text("结算完成")
    expect(page.locator("#acts")).to_have_count(0)


def test_an_agent_fills_in_the_tickets_of_its_unpaid_order(page: Page, site: Site) -> None:
    order_no = orders_of(site).held_unpaid(Reason.HOLD_EXPIRED)
    site.sign_in(page, "carol")
    page.goto("/orders?quick=failed")
    page.get_by_role("row", name=order_no).get_by_role("link", name="操作").click()
    expect(page.locator(".flash[role=note]")).to_have_text(HELD)
    expect(page.get_by_text("请登录12306支付并回填信息")).to_be_visible()
    expect(page.get_by_text(re.compile("不能重新导入: 占座已过支付期限"))).to_be_visible()
    page.get_by_label("车票号").fill("E700000001")
    page.get_by_label("座位号").fill("05车02C号")
    page.get_by_label("票价").fill("413.00")
    page.get_by_role("button", name="回填").click()
    expect(page.get_by_role("status")).to_contain_text("已回填")
    expect(page.get_by_role("region", name="联系人与费用")).to_contain_text("E700000001(第0程)")
    expect(page.get_by_role("main")).to_contain_text("线下出票")
    expect(page.locator("#acts")).to_have_count(0)


def test_an_agent_imports_its_unpaid_order_again(page: Page, site: Site) -> None:
    order_no = orders_of(site).held_unpaid(Reason.NOT_SENT)
    site.sign_in(page, "carol")
    page.goto(f"/orders/{order_no}")
    page.locator("summary", has_text="重新导入").click()
    page.get_by_role("button", name="确认重新导入").click()
    expect(page.get_by_role("status")).to_contain_text("第 2 次代付开始")
    expect(page.locator(".story")).to_contain_text("carol")


@pytest.mark.parametrize("name", ["carol", "bob"])
def test_of_an_abnormal_order_nothing_is_offered_but_its_closing_to_staff(page: Page, site: Site, name: str) -> None:
    site.sign_in(page, name)
    page.goto(f"/orders/{site.orders[4]}")
    expect(page.locator(".flash[role=note]")).to_have_text(ABNORMAL)
    expect(page.get_by_text("请登录12306核实")).to_be_visible()
    for words in ("回填", "重新导入"):
        expect(page.get_by_role("main").get_by_text(words, exact=True)).to_have_count(0)
    expect(page.get_by_role("link", name="结案")).to_have_count(0 if name == "carol" else 1)


def test_another_agents_order_is_not_found(page: Page, site: Site) -> None:
    site.sign_in(page, "dave")
    answer = page.goto(f"/orders/{site.orders[5]}")
    assert answer is not None
    assert answer.status == 404
    page.goto(f"/orders?order_no={site.orders[5]}")
    expect(page.get_by_text("没有符合条件的订单")).to_be_visible()


def test_the_counts_update_by_themselves(page: Page, site: Site) -> None:
    page.clock.install()
    site.sign_in(page, "bob")
    page.goto("/orders")
    before = counts(page)["等待出票订单"]
    orders_of(site).requested()
    page.clock.run_for(6_000)
    expect(page.get_by_role("link", name=re.compile(rf"^等待出票订单\({before + 1}\)"))).to_be_visible()


@pytest.mark.parametrize("place", ["/orders", "/orders/{}"])
def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Page, site: Site, place: str) -> None:
    site.sign_in(phone, "carol")
    for order_no in site.orders[2:6] if "{" in place else [""]:
        phone.goto(place.format(order_no))
        width = phone.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{place} is {width} wide"
