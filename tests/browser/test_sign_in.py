"""Signing in and out in a real browser: with a code, with a wrong password, by keyboard alone, on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site import Site
from tests.unit.console_house import PASSWORD


def type_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/orders")
    page.get_by_label("用户名").fill(name)
    page.get_by_label("密码").fill(password)
    page.get_by_role("button", name="登录").click()


def test_an_operator_enrols_a_device_signs_in_with_its_code_and_out_again(page: Page, site: Site) -> None:
    type_in(page, "bob")
    expect(page.get_by_role("heading", name="绑定动态口令")).to_be_visible()
    site.house.secrets["bob"] = re.sub(r"\s", "", page.locator(".secret code").inner_text())
    page.get_by_label("6 位数字").fill(site.house.code("bob"))
    page.get_by_role("button", name="绑定并登录").click()
    expect(page).to_have_url(f"{site.url}/orders")
    expect(page.get_by_role("navigation", name="主菜单")).to_contain_text("审计日志")
    page.get_by_role("button", name="退出").click()
    expect(page).to_have_url(f"{site.url}/login")
    type_in(page, "bob")
    page.get_by_label("手机验证器上的 6 位数字").fill(site.house.code("bob"))
    page.get_by_role("button", name="登录").click()
    expect(page).to_have_url(f"{site.url}/orders")


def test_a_wrong_password_is_told_and_the_name_is_kept(page: Page, site: Site) -> None:
    type_in(page, "carol", "not the pass phrase")
    expect(page.get_by_role("alert")).to_contain_text("用户名或密码不对")
    expect(page.get_by_label("用户名")).to_have_value("carol")
    expect(page.get_by_label("密码")).to_have_value("")
    expect(page.get_by_label("密码")).to_be_focused()


def test_the_cookie_is_out_of_reach_of_scripts_and_gone_after_signing_out(page: Page, site: Site) -> None:
    type_in(page, "carol")
    expect(page.get_by_role("heading", name="订单管理")).to_be_visible()
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie["name"] == "daifu_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="退出").click()
    page.goto("/orders")
    expect(page).to_have_url(f"{site.url}/login?next=/orders")


def test_everything_goes_by_keyboard_alone(page: Page, site: Site) -> None:
    page.goto("/login")
    expect(page.get_by_label("用户名")).to_be_focused()
    for keys in ("carol", "Tab", PASSWORD, "Enter"):
        page.keyboard.press(keys) if keys in ("Tab", "Enter") else page.keyboard.type(keys)
    expect(page.get_by_role("heading", name="订单管理")).to_be_visible()
    page.goto("/orders")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="跳到正文")).to_be_focused()
    seen = tabbed_through(page, 60)
    assert {"订单管理", "退出", "提交"} <= seen
    page.get_by_role("link", name=site.orders[0]).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"订单 {site.orders[0]}")).to_be_visible()


def tabbed_through(page: Page, times: int) -> set[str]:
    """What the focus comes by, each visibly focused."""
    seen = set()
    for _ in range(times):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "() => { const it = document.activeElement; return it === document.body ? ['', '']"
            " : [it.innerText || it.name || '', getComputedStyle(it).outlineStyle] }"
        )
        if name:
            assert outline != "none", name
        seen.add(str(name).strip())
    return seen


def test_a_confirmation_opens_and_closes_by_keyboard(page: Page, site: Site) -> None:
    site.sign_in(page, "alice")
    page.goto("/users")
    row = page.get_by_role("row", name="dave")
    row.get_by_text("停用").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_label("理由").last).to_be_focused()
    page.keyboard.press("Escape")
    expect(row.get_by_text("停用")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("离职")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("dave 已停用")
    expect(page.get_by_role("row", name="dave")).to_contain_text("已停用")


def test_a_link_from_another_site_opens_in_the_session(page: Page, site: Site) -> None:
    site.sign_in(page, "carol")
    page.goto(f"data:text/html,<a href='{site.url}/orders/{site.orders[0]}'>go</a>")
    page.get_by_role("link", name="go").click()
    expect(page.get_by_role("heading", name=f"订单 {site.orders[0]}")).to_be_visible()


PLACES = ("/orders", "/account", "/users", "/audit-log", "/no-such-page", "/login")


@pytest.mark.parametrize("path", PLACES)
def test_on_a_phone_nothing_is_wider_than_the_screen(phone: Page, site: Site, path: str) -> None:
    if path != "/login":
        site.sign_in(phone, "alice")
    phone.goto(path)
    width = phone.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{path} is {width} wide"


def test_on_a_phone_the_menu_opens_and_closes(phone: Page, site: Site) -> None:
    site.sign_in(phone, "alice")
    phone.goto("/orders")
    menu = phone.get_by_role("navigation", name="主菜单")
    expect(menu).to_be_hidden()
    phone.get_by_role("link", name="菜单").tap()
    expect(menu.get_by_role("link", name="用户管理")).to_be_visible()
    menu.get_by_role("link", name="收起菜单").tap()
    expect(menu).to_be_hidden()
    phone.get_by_role("link", name="菜单").tap()
    menu.get_by_role("link", name="用户管理").tap()
    expect(phone.get_by_role("heading", name="用户管理")).to_be_visible()


def test_light_and_dark_follow_the_system(page: Page, site: Site) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.goto("/login")
        shades.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert shades[0] != shades[1]


def test_without_scripts_everything_still_works(page: Page, site: Site) -> None:
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    plain = context.new_page()
    site.sign_in(plain, "alice")
    plain.goto("/users")
    row = plain.get_by_role("row", name="carol")
    row.get_by_text("重置密码").click()
    row.get_by_label("理由").first.fill("忘了")
    row.get_by_role("button", name="确认").first.click()
    expect(plain.get_by_role("heading", name="carol 的一次性链接")).to_be_visible()
    context.close()
