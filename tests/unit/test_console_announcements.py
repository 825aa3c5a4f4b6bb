"""系统公告 and the first page: who writes, who sees, what is withdrawn; and `daifu announcements`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.operations_announcements import LONGEST_TEXT
from tests.unit.cli_home import Home
from tests.unit.console_data import SCRIPT
from tests.unit.console_house import HOST, Browser, House, console_at
from tests.unit.console_steps import acts, said

PAGE = "/announcements"
NEWS = {"title": "12306 今晚维护", "text": "23:00 至次日 5:00 不能支付。\n请提前安排。"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


def titles(browser: Browser) -> list[str]:
    return [row["title"] for row in browser.get("/api/v1/announcements").json["rows"]]


def test_staff_publishes_and_everybody_sees_it_on_the_first_page_and_in_the_list(house: House) -> None:
    bob = house.signed_in("bob")
    assert said(bob, bob.post(PAGE, NEWS)) == "公告已发布"
    for name in ("alice", "carol", "dave"):
        browser = house.signed_in(name)
        for path in ("/", PAGE):
            assert NEWS["title"] in browser.get(path).text, (name, path)
            assert "请提前安排" in browser.get(path).text, (name, path)
    assert "human:bob" not in house.signed_in("carol").get(PAGE).text
    assert acts(house, "announcements.publish") == [("human:bob", "done", None)]


def test_an_agent_publishes_and_withdraws_nothing(house: House) -> None:
    house.signed_in("bob").post(PAGE, NEWS)
    carol = house.signed_in("carol")
    assert "发布公告" not in carol.get(PAGE).text
    assert carol.post(PAGE, NEWS).status == 403
    assert carol.post(f"{PAGE}/1/withdraw", {"reason": "x"}).status == 403
    assert titles(carol) == [NEWS["title"]]


def test_what_is_withdrawn_only_staff_still_sees(house: House) -> None:
    alice, carol = house.signed_in("alice"), house.signed_in("carol")
    alice.post(PAGE, NEWS)
    alice.post(PAGE, NEWS | {"title": "运费调整"})
    assert said(alice, alice.post(f"{PAGE}/1/withdraw", {"reason": "改期"})) == "公告已撤回"
    assert titles(carol) == ["运费调整"]
    assert NEWS["title"] not in carol.get("/").text + carol.get(PAGE).text
    assert titles(alice) == ["运费调整", NEWS["title"]]
    assert "alice 撤回于" in alice.get(PAGE).text
    again = alice.post(f"{PAGE}/1/withdraw", {"reason": "x"}, referer=f"http://{HOST}{PAGE}")
    assert "已撤回" in said(alice, again)
    assert alice.post(f"{PAGE}/9/withdraw", {"reason": "x"}).status == 404
    assert acts(house, "announcements.withdraw") == [("human:alice", "done", "改期")]


def test_a_script_in_an_announcement_is_text(house: House) -> None:
    house.signed_in("bob").post(PAGE, {"title": SCRIPT, "text": SCRIPT})
    for path in ("/", PAGE):
        page = house.signed_in("carol").get(path).text
        assert "&lt;script&gt;" in page
        assert "<script>alert" not in page


@pytest.mark.parametrize(
    "form", [{"title": " ", "text": "x"}, {"title": "x", "text": ""}, {"title": "x" * 101, "text": "x"}]
)
def test_an_announcement_that_says_nothing_or_too_much_is_refused(house: House, form: dict[str, str]) -> None:
    bob = house.signed_in("bob")
    token = {"x-csrf-token": bob.csrf}
    assert bob.send_json("POST", "/api/v1/announcements", form, **token).status == 409
    assert (
        bob.send_json("POST", "/api/v1/announcements", {"title": "x", "text": "x" * (LONGEST_TEXT + 1)}, **token).status
        == 422
    )
    assert titles(bob) == []


def test_the_first_page_greets_as_the_source_document_does_and_leads_to_every_page(house: House) -> None:
    carol, bob = house.signed_in("carol").get("/").text, house.signed_in("bob").get("/").text
    for words in (
        "火车票后台管理",
        "您好！欢迎光临 <time",
        "星期",
        "退出",
        "订单管理",
        "订单统计",
        "订单列表",
        "系统公告",
    ):
        assert words in carol, words
    for words in ("用户管理", "添加账户", "修改密码", "当前账号信息", "账号列表", "代付设置"):
        assert words in carol, words
    assert "监控" in bob
    assert "监控" not in carol
    assert "竞价" not in carol + bob


def test_the_list_is_read_page_by_page(house: House) -> None:
    bob = house.signed_in("bob")
    for number in range(55):
        bob.send_json(
            "POST", "/api/v1/announcements", {"title": f"第{number}号", "text": "x"}, **{"x-csrf-token": bob.csrf}
        )
    first = bob.get("/api/v1/announcements").json
    rest = bob.get(f"/api/v1/announcements?cursor={first['next']}").json
    assert [row["title"] for row in first["rows"] + rest["rows"]] == [f"第{number}号" for number in reversed(range(55))]
    assert rest["next"] is None
    home = house.signed_in("carol").get("/").text
    assert "第54号" in home
    assert "第50号" not in home
    assert "全部公告" in home


def test_announcements_by_command(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ready()
    assert home.json("announcements", "publish", "维护", "今晚不能支付") == {"id": 1}
    assert home.json("announcements", "withdraw", "1", "--reason", "改期") == {"id": 1, "withdrawn": True}
    (row,) = home.json("announcements", "list")
    assert (row["title"], row["published_by"], row["withdrawn_by"]) == ("维护", "human:ann", "human:ann")
    assert home.call("announcements", "withdraw", "1", "--reason", "x").exit_code == 4
    assert home.call("announcements", "withdraw", "7", "--reason", "x").exit_code == 1
    assert home.call("announcements", "publish", " ", "x").exit_code == 4
