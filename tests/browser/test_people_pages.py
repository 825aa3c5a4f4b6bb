"""代付设置, 用户管理, 系统公告, 订单统计 and the first page in a real browser, for agent and operator."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from pipeline.operations import set_callback
from tests.browser.people_data import NEWS, make_people
from tests.browser.site import Site
from tests.unit.console_house import AGENT


@pytest.fixture(scope="module")
def people(site: Site) -> Site:
    make_people(site.house)
    return site


def test_an_agent_changes_its_password_with_the_old_one(page: Page, people: Site) -> None:
    people.sign_in(page, "carol")
    page.goto("/")
    page.get_by_role("navigation", name="全部页面").get_by_role("link", name="代付设置").click()
    expect(page.get_by_text("请保证全部账户使用统一密码，以保证代付成功率", exact=True)).to_be_visible()
    page.get_by_label("原密码").fill("not the old one")
    page.get_by_label("新密码").fill("invented-new")
    page.get_by_role("button", name="提交").click()
    expect(page.get_by_role("alert")).to_have_text("原密码不对")
    expect(page.get_by_label("原密码")).to_have_value("")
    expect(page.get_by_label("新密码")).to_have_value("")
    page.get_by_label("原密码").fill("not a real password")
    page.get_by_label("新密码").fill("invented-new")
    page.get_by_role("button", name="提交").click()
    expect(page.get_by_role("status")).to_contain_text("下一次支付起使用新密码")
    expect(page.get_by_role("row", name="user703")).to_contain_text("单独设置")
    page.get_by_role("row", name="user703").get_by_text("改用统一密码").click()
    page.get_by_label("理由").fill("已改成一样")
    page.get_by_role("button", name="确认").click()
    expect(page.get_by_role("row", name="user703")).to_contain_text("统一密码")


def test_an_operator_helps_an_agent_unblocks_an_account_and_tries_the_address(page: Page, people: Site) -> None:
    people.sign_in(page, "bob")
    page.goto("/settings/payment")
    page.get_by_label("代理商").select_option(AGENT)
    page.get_by_role("button", name="查询").click()
    page.get_by_label("新密码").fill("invented-again")
    page.get_by_label("理由").first.fill("代理商忘记原密码")
    page.get_by_role("button", name="提交").click()
    expect(page.get_by_role("status")).to_contain_text("已重置")
    row = page.get_by_role("row", name="user701")
    expect(row).to_contain_text("已停止登录")
    row.get_by_text("解除限制").click()
    row.get_by_role("button", name="确认").click()
    expect(page.get_by_role("row", name="user701")).to_contain_text("正常")
    inside = "https://10.0.0.8/payresult"
    people.house.write(lambda tx: set_callback(tx, AGENT, inside, "human:bob", allow_http=False))
    page.get_by_role("button", name="测试").click()
    expect(page.get_by_role("alert")).to_contain_text("回调地址不可用: 主机名指向内部或保留的网络, 不允许调用")


def test_a_main_account_adds_a_sub_account(page: Page, people: Site) -> None:
    people.sign_in(page, "carol")
    page.goto("/")
    page.get_by_role("navigation", name="全部页面").get_by_role("link", name="添加账户").click()
    page.get_by_label("用户名").fill("clerk-wang")
    page.get_by_role("button", name="添加").click()
    expect(page.get_by_role("heading", name="clerk-wang 的一次性链接")).to_be_visible()
    expect(page.get_by_role("row", name="clerk-wang")).to_contain_text("等待设置密码")
    expect(page.get_by_role("row", name="carol")).to_contain_text("主账号")
    expect(page.get_by_role("row", name="dave")).to_have_count(0)


def test_an_announcement_goes_out_is_seen_by_agents_and_withdrawn(page: Page, people: Site) -> None:
    people.sign_in(page, "bob")
    page.goto("/announcements")
    page.get_by_text("发布公告").click()
    page.get_by_label("标题").fill("春运代付通知")
    page.get_by_label("内容").fill("<b>请提前</b>")
    page.get_by_role("button", name="发布").click()
    expect(page.get_by_role("article").first).to_contain_text("<b>请提前</b>")
    context = page.context.browser
    assert context is not None
    agents = context.new_context(base_url=people.url)
    seen = agents.new_page()
    people.sign_in(seen, "dave")
    seen.goto("/")
    expect(seen.get_by_role("article").first).to_contain_text("春运代付通知")
    expect(seen.get_by_text(NEWS[-1][0])).to_have_count(0)
    article = page.get_by_role("article").first
    article.get_by_text("撤回", exact=True).click()
    article.get_by_label("理由").fill("改期")
    article.get_by_role("button", name="确认").click()
    expect(page.get_by_role("article").first).to_contain_text("已撤回")
    seen.reload()
    expect(seen.get_by_text("春运代付通知")).to_have_count(0)
    agents.close()


def test_statistics_are_narrowed_to_a_day_and_to_an_agent(page: Page, people: Site) -> None:
    people.sign_in(page, "bob")
    page.goto("/statistics")
    expect(page.get_by_role("img", name="每天的订单和结果")).to_be_visible()
    page.get_by_role("region", name="按代理商").get_by_role("link", name=AGENT).click()
    expect(page.get_by_role("textbox", name="代理商")).to_have_value(AGENT)
    expect(page.get_by_role("region", name="按代理商").get_by_role("row")).to_have_count(2)
    page.goto("/statistics")
    day = page.get_by_role("region", name="按日").get_by_role("link").nth(3)
    said = day.inner_text()
    day.click()
    expect(page.get_by_label("起始日期")).to_have_value(said)
    expect(page.get_by_label("截止日期")).to_have_value(said)


PLACES = ("/", "/settings/payment", f"/settings/payment?agent={AGENT}", "/announcements", "/statistics", "/users")


def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Page, people: Site) -> None:
    for name in ("alice", "carol"):
        people.sign_in(phone, name)
        for path in PLACES:
            phone.goto(path)
            width = phone.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, f"{path} is {width} wide for {name}"
