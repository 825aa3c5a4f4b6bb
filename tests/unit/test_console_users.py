"""用户管理 and 审计日志 on their pages, and `daifu users`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.operations_errors import Refused
from pipeline.operations_users import Role, disable_user
from pipeline.passwords import Passwords
from pipeline.secret import Secret
from pipeline.store import history, users
from pipeline.store.engine import Transaction
from tests.unit.cli_home import Home
from tests.unit.console_house import AGENT, HOST, PASSWORD, PEOPLE, Browser, House, console_at
from tests.unit.console_steps import said

PAGE = {"referer": f"http://{HOST}/users"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


def user(house: House, name: str) -> dict[str, object]:
    return next(row for row in house.read(users.list_users) if row["name"] == name)


def refused(browser: Browser, path: str, form: dict[str, str]) -> str:
    """What the page says after a form that was refused."""
    assert browser.post(path, form, **PAGE).goes_to == "/users"
    said = re.search(r'class="flash refused"[^>]*>([^<]*)<', browser.get("/users").text)
    assert said is not None
    return said[1]


def test_a_supervisor_adds_a_user_who_sets_the_password_by_a_link_shown_once(house: House) -> None:
    alice = house.signed_in("alice")
    page = alice.post("/users", {"name": "Eve", "role": "agent", "agent": AGENT}).text
    link = re.search(r"http://console\.test(/start/[\w-]+)", page)
    assert link is not None
    assert link[1] not in alice.get("/users").text
    eve = house.browser()
    eve.get(link[1])
    assert eve.post(link[1], {"password": PASSWORD, "repeated": PASSWORD}).goes_to == "/"
    assert eve.get("/orders").status == 200
    assert user(house, "eve")["agent"] == AGENT


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "carol", "role": "operator"}, "已存在"),
        ({"name": "a b", "role": "operator"}, "用户名"),
        ({"name": "eve", "role": "agent"}, "需要代理商代码"),
        ({"name": "eve", "role": "operator", "agent": AGENT}, "其他角色不能有"),
    ],
)
def test_a_user_is_not_added_when(house: House, form: dict[str, str], said: str) -> None:
    assert said in refused(house.signed_in("alice"), "/users", form)


def test_of_an_agent_that_is_not_there_nobody_can_be_a_user(house: House) -> None:
    answer = house.signed_in("alice").post("/users", {"name": "eve", "role": "agent", "agent": "nobody"})
    assert (answer.status, "没有代理商 nobody" in answer.text) == (404, True)


def test_nobody_disables_or_resets_oneself(house: House) -> None:
    alice = house.signed_in("alice")
    for act in ("disable", "reset-password", "reset-totp"):
        assert "自己" in refused(alice, "/users/alice", {"act": act, "reason": "x"}) or act == "reset-totp"
    assert not user(house, "alice")["disabled"]
    assert user(house, "alice")["totp"]


def test_the_last_supervisor_stays(house: House) -> None:
    with pytest.raises(Refused, match="最后一个主管"):
        house.write(lambda tx: disable_user(tx, "alice", "x", "human:ops"))


def test_a_lost_device_is_reset_by_another_supervisor(house: House) -> None:
    house.signed_in("bob")
    alice = house.signed_in("alice")
    alice.post("/users/bob", {"act": "reset-totp", "reason": "手机丢失"})
    assert not user(house, "bob")["totp"]
    bob = house.browser()
    bob.get("/login")
    bob.post("/login", {"name": "bob", "password": PASSWORD})
    assert "绑定动态口令" in bob.get("/login").text


def test_disabled_and_enabled_again(house: House) -> None:
    alice = house.signed_in("alice")
    alice.post("/users/carol", {"act": "disable", "reason": "离职"})
    assert user(house, "carol")["disabled"]
    assert "已停用" in refused(alice, "/users/carol", {"act": "disable", "reason": "离职"})
    alice.post("/users/carol", {"act": "enable", "reason": "回来了"})
    assert not user(house, "carol")["disabled"]


def names(browser: Browser) -> list[str]:
    return [row["name"] for row in browser.get("/api/v1/users").json]


def add_clerk(house: House, name: str = "clerk") -> Browser:
    """Carol, the main account, adds a sub-account, whose owner comes in by the link that is shown once."""
    carol = house.signed_in("carol")
    page = carol.post("/sub-accounts", {"name": name}).text
    link = re.search(r"http://console\.test(/start/[\w-]+)", page)
    assert link is not None
    assert link[1] not in carol.get("/users").text
    clerk = house.browser()
    clerk.get(link[1])
    assert clerk.post(link[1], {"password": PASSWORD, "repeated": PASSWORD}).goes_to == "/"
    clerk.get("/account")
    return clerk


def test_a_main_account_adds_a_sub_account_of_its_own_agent_that_adds_nobody(house: House) -> None:
    clerk = add_clerk(house)
    assert (user(house, "clerk")["agent"], user(house, "clerk")["sub"]) == (AGENT, True)
    assert names(clerk) == ["clerk"]
    assert names(house.signed_in("carol")) == ["carol", "clerk"]
    assert "子账号" in clerk.get("/account").text
    page = clerk.get("/users").text
    assert ("添加账户" in page, "账号列表" in page) == (False, True)
    assert "只有代理商的主账号" in refused(clerk, "/sub-accounts", {"name": "another"})
    assert clerk.post("/sub-accounts/clerk", {"act": "disable", "reason": "x"}).status == 404
    assert clerk.get("/orders").status == 200


def test_a_main_account_manages_its_sub_accounts_and_nobody_else(house: House) -> None:
    add_clerk(house)
    carol, dave = house.signed_in("carol"), house.signed_in("dave")
    form = {"act": "disable", "reason": "离职"}
    for name in ("carol", "dave", "alice", "nobody"):
        assert carol.post(f"/sub-accounts/{name}", form).status == 404, name
    assert dave.post("/sub-accounts/clerk", form).status == 404
    assert "clerk 已停用" in said(carol, carol.post("/sub-accounts/clerk", form))
    assert user(house, "clerk")["disabled"]
    assert carol.post("/sub-accounts/clerk", form | {"act": "enable"}).goes_to == "/users"
    assert "/start/" in carol.post("/sub-accounts/clerk", form | {"act": "reset-password"}).text
    assert not user(house, "clerk")["password"]
    assert (
        carol.post("/users/clerk", form).status == carol.post("/users", {"name": "x", "role": "operator"}).status == 403
    )


def test_a_name_that_is_taken_or_none_is_no_sub_account(house: House) -> None:
    carol = house.signed_in("carol")
    assert "已存在" in refused(carol, "/sub-accounts", {"name": "Alice"})
    assert "用户名" in refused(carol, "/sub-accounts", {"name": "a b"})


@pytest.mark.parametrize(
    ("name", "path", "form"),
    [
        ("carol", "/sub-accounts", {"name": "clerk"}),
        ("carol", "/sub-accounts/old-clerk", {"act": "reset-password", "reason": "x"}),
        ("alice", "/users/bob", {"act": "reset-password", "reason": "x"}),
    ],
)
def test_after_a_link_was_shown_a_refusal_still_leads_to_the_list(
    house: House, name: str, path: str, form: dict[str, str]
) -> None:
    add_clerk(house, "old-clerk")
    browser = house.signed_in(name)
    assert "/start/" in browser.post(path, form).text
    taken = "/sub-accounts" if name == "carol" else "/users"
    answer = browser.post(taken, {"name": "dave", "role": "operator"}, referer=f"http://{HOST}{path}")
    assert answer.goes_to == path
    assert browser.get(path).goes_to == "/users"
    assert "已存在" in browser.get("/users").text


def test_an_operator_reads_the_list_and_changes_nobody(house: House) -> None:
    bob = house.signed_in("bob")
    assert names(bob) == sorted(PEOPLE)
    assert "添加账户" not in bob.get("/users").text
    assert bob.post("/users/carol", {"act": "disable", "reason": "x"}).status == 403
    assert bob.post("/sub-accounts", {"name": "x"}).status == 403


def test_people_are_added_and_helped_over_the_api_by_links_told_once(house: House) -> None:
    alice, carol = house.signed_in("alice"), house.signed_in("carol")
    token = {"x-csrf-token": alice.csrf}
    added = alice.send_json("POST", "/api/v1/users", {"name": "Eve", "role": "operator"}, **token).json
    assert (added["name"], added["start"].startswith("/start/")) == ("eve", True)
    change = {"act": "disable", "reason": "x"}
    assert alice.send_json("POST", "/api/v1/users/eve", change, **token).json == {"name": "eve", "start": None}
    own = {"x-csrf-token": carol.csrf}
    assert carol.send_json("POST", "/api/v1/sub-accounts", {"name": "clerk"}, **own).json["start"]
    reset = carol.send_json("POST", "/api/v1/sub-accounts/clerk", change | {"act": "reset-password"}, **own).json
    assert reset["start"].startswith("/start/")


def test_every_act_is_in_the_audit_log_with_role_origin_and_reason(house: House) -> None:
    alice = house.signed_in("alice")
    alice.post("/users/carol", {"act": "disable", "reason": "离职"})
    (act,) = alice.get("/api/v1/audit-log?action=users.disable").json["rows"]
    wanted = {"actor": "human:alice", "role": "supervisor", "origin": "192.0.2.1", "subject": "carol", "reason": "离职"}
    assert act.items() >= wanted.items()
    assert act["result"] == "done"


def test_the_audit_log_is_in_words_without_codes_and_raw_times(house: House) -> None:
    def acts(tx: Transaction) -> None:
        history.audit(tx, "human:ann", "pause.stage", "settlement", reason="对账")
        told = "2014-11-17T20:31:00.000+08:00"
        history.audit(
            tx, "human:ann", "tasks.hand_over", "7", after="human:bob", told_at=told, reason=f"已于 {told} 通知"
        )

    house.write(acts)
    text = house.signed_in("bob").get("/audit-log?actor=ann").text
    assert "settlement" not in text
    assert "human:bob" not in text
    assert "T20:31" not in text
    assert text.count("2014-11-17 20:31:00") == 2


def test_the_audit_log_is_searched_and_paged(house: House) -> None:
    def fill(tx: Transaction) -> None:
        for number in range(120):
            history.audit(tx, "human:ann", "tasks.take", str(number), reason=f"第{number}个 100%")

    house.write(fill)
    bob = house.signed_in("bob")
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = bob.get(f"/api/v1/audit-log?actor=ann&cursor={cursor}").json
        seen += [row["subject"] for row in page["rows"]]
        cursor = page["next"]
    assert seen == [str(number) for number in reversed(range(120))]
    assert [row["subject"] for row in bob.get("/api/v1/audit-log?words=第7个").json["rows"]] == ["7"]
    assert len(bob.get("/api/v1/audit-log?words=100%25").json["rows"]) == 50
    assert bob.get("/api/v1/audit-log?words=_7_&actor=ann").json["rows"] == []
    exported = bob.get("/audit-log/export.csv?words=第7个").text.splitlines()
    assert len(exported) == 2
    assert "第7个 100%" in exported[1]
    assert bob.get("/api/v1/audit-log?until=2014-11-17T20:31").json["rows"] == []
    assert "没有符合条件的记录" in bob.get("/audit-log?actor=nobody").text
    following = re.search(r'rel="next" href="([^"]*)"', bob.get("/audit-log?actor=ann").text)
    assert following is not None
    assert "第60个" in bob.get(following[1].replace("&amp;", "&")).text


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJhIl0", "WzFd.", "W251bGxd", "WzFlOTldC", "你"])
def test_a_cursor_that_is_none_is_refused(house: House, cursor: str) -> None:
    assert house.signed_in("bob").get(f"/api/v1/audit-log?cursor={quote(cursor)}").status == 422


def test_a_password_is_hashed_with_argon2id_and_much_memory() -> None:
    digest = Passwords().digest(Secret(PASSWORD))
    found = re.match(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),", digest)
    assert found is not None
    assert (int(found[1]) >= 19_456, int(found[2]) >= 2) == (True, True)


def test_users_are_added_listed_disabled_and_reset_by_commands(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", AGENT, "--callback", "https://agent.example/told")
    with_password = home.json("users", "add", "ann", "--role", "supervisor", stdin=f"{PASSWORD}\n")
    assert with_password == {"name": "ann", "link": None}
    added = home.json("users", "add", "eve", "--role", "agent", "--agent", AGENT)
    assert added["link"].startswith("http://127.0.0.1:8306/start/")
    listed = {row["name"]: row for row in home.json("users", "list")}
    assert (listed["ann"]["password"], listed["eve"]["password"]) == (True, False)
    assert "argon2" not in home.call("users", "list").output
    assert home.call("users", "add", "ann", "--role", "operator").exit_code == 4
    assert home.call("users", "add", "x", "--role", "operator", stdin="short\n").exit_code == 4
    assert home.call("users", "disable", "ann", "--reason", "x").exit_code == 4, "the last supervisor"
    assert home.json("users", "sign-out", "eve", "--reason", "电脑丢失") == {"name": "eve", "signed_out": True}
    assert home.json("users", "disable", "eve", "--reason", "离职") == {"name": "eve", "disabled": True}
    assert home.call("users", "disable", "nobody", "--reason", "x").exit_code == 1
    assert home.call("users", "reset", "eve", "--reason", "x").exit_code == 4
    home.json("users", "enable", "eve", "--reason", "回来了")
    assert home.json("users", "reset", "eve", "--reason", "忘了")["link"]
    assert Role(listed["eve"]["role"]) is Role.AGENT
