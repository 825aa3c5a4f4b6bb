"""代付设置: who may change the 12306 password and how, and that it is seen nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from pipeline import operations
from pipeline.secret import Secret
from pipeline.store import accounts
from pipeline.store.agents import password_set_at
from pipeline.tries import TRIES_BOTH, TRIES_NAME, WINDOW_S
from tests.unit.console_house import AGENT, HOST, Browser, House, console_at
from tests.unit.console_steps import acts, said

OLD, NEW, GUESS = "invented-old-6F1", "invented-new-9K2", "invented-guess-3Z7"
PAGE = "/settings/payment"
OWN = f"{PAGE}/{AGENT}"
WARNING = "请保证全部账户使用统一密码，以保证代付成功率"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


def change(browser: Browser, old: str, new: str = NEW) -> str:
    return said(browser, browser.post(f"{OWN}/password", {"old": old, "new": new}, referer=f"http://{HOST}{PAGE}"))


def agent_row(house: House, code: str = AGENT) -> Any:
    return house.read(lambda tx: accounts.load_agents(tx, [code])[code])


def is_set(house: House, password: str) -> bool:
    return bool(PasswordHasher().verify(agent_row(house).password_hash, password))


def test_the_page_has_what_the_source_document_has(house: House) -> None:
    page = house.signed_in("carol").get(PAGE).text
    for words in ("代付设置", "12306账户密码", "原密码", "新密码", ">提交</button>", WARNING):
        assert words in page, words
    assert "不用填" in page
    staff = house.signed_in("bob").get(f"{PAGE}?agent={AGENT}").text
    for words in ("代付设置", "12306账户密码", "新密码", ">提交</button>", WARNING):
        assert words in staff, words


def test_an_agent_sets_its_first_password_and_changes_it_with_the_old_one(house: House) -> None:
    carol = house.signed_in("carol")
    assert "下一次支付起使用新密码" in change(carol, "", OLD)
    assert is_set(house, OLD)
    assert change(carol, "") == change(carol, GUESS) == "原密码不对"
    assert is_set(house, OLD)
    assert "已修改" in change(carol, OLD)
    assert is_set(house, NEW)
    assert acts(house, "agents.set_password") == [
        ("human:carol", "done", None),
        ("human:carol", "refused", "原密码不对"),
        ("human:carol", "refused", "原密码不对"),
        ("human:carol", "done", None),
    ]


@pytest.mark.parametrize(("new", "words"), [("", "密码不能为空"), ("\ud800", "无法发送的字符")])
def test_a_password_that_is_none_is_refused(house: House, new: str, words: str) -> None:
    carol = house.signed_in("carol")
    token = {"x-csrf-token": carol.csrf}
    answer = carol.send_json("POST", f"/api/v1{OWN}/password", {"new": new}, **token)
    assert (answer.status, words in answer.json["words"]) == (409, True)
    assert agent_row(house).password_sealed is None


def test_guessing_the_old_password_is_counted_and_ends(house: House) -> None:
    carol = house.signed_in("carol")
    change(carol, "", OLD)
    assert [change(carol, GUESS) for _ in range(TRIES_BOTH)] == ["原密码不对"] * TRIES_BOTH
    assert carol.post(f"{OWN}/password", {"old": OLD, "new": NEW}).status == 429
    assert is_set(house, OLD)
    assert carol.get("/account").status == 200, "signing in is another matter"
    house.clock.move(WINDOW_S + 1)
    assert "已修改" in change(carol, OLD)


def test_guesses_are_counted_by_agent_whoever_guesses_from_wherever_and_staff_helps(house: House) -> None:
    change(house.signed_in("carol"), "", OLD)
    for n in range(TRIES_NAME):
        browser = house.signed_in("carol", address=f"192.0.2.{10 + n}")
        assert browser.post(f"{OWN}/password", {"old": GUESS, "new": NEW}).status == 409
    locked_out = house.signed_in("carol", address="192.0.2.99")
    assert locked_out.post(f"{OWN}/password", {"old": OLD, "new": NEW}).status == 429
    bob = house.signed_in("bob")
    form = {"new": NEW, "reason": "代理商忘记原密码"}
    assert "已重置" in said(bob, bob.post(f"{OWN}/reset", form, referer=f"http://{HOST}{PAGE}"))
    assert is_set(house, NEW)
    assert "已修改" in change(locked_out, NEW, OLD)
    assert acts(house, "agents.set_password")[1] == ("human:bob", "done", "代理商忘记原密码")


def test_staff_needs_a_reason_and_no_old_password_and_an_agent_can_not_do_without(house: House) -> None:
    bob, carol = house.signed_in("bob"), house.signed_in("carol")
    assert bob.post(f"{OWN}/reset", {"new": NEW, "reason": " "}).status == 422
    assert bob.post(f"{PAGE}/nobody/reset", {"new": NEW, "reason": "x"}).status == 404
    assert carol.post(f"{OWN}/reset", {"new": NEW, "reason": "x"}).status == 403
    assert bob.post(f"{OWN}/password", {"old": "", "new": NEW}).status == 403
    assert agent_row(house).password_sealed is None


def test_of_two_changes_at_once_the_second_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    carol = house.signed_in("carol")
    change(carol, "", OLD)
    passwords = house.desk.sign_in.passwords
    fits = passwords.fits

    def fits_and_meanwhile(digest: str | None, password: Secret) -> bool:
        house.write(lambda tx: operations.set_password(tx, AGENT, Secret("other"), house.desk.vault_key, "human:bob"))
        return fits(digest, password)

    monkeypatch.setattr(passwords, "fits", fits_and_meanwhile)
    assert "刚刚被改过" in change(carol, OLD)
    assert is_set(house, "other")


def test_no_password_is_seen_anywhere(house: House, tmp_path: Path) -> None:
    """On no page and in no answer that follows, in no log line, and in no row of the database."""
    with capture_logs() as lines:
        carol, bob = house.signed_in("carol"), house.signed_in("bob")
        change(carol, "", OLD)
        change(carol, GUESS)
        shown = [carol.post(f"{OWN}/password", {"old": GUESS, "new": NEW, "csrf": "forged"})]
        shown += [carol.post(f"{OWN}/password", {"old": GUESS, "new": NEW * 100})]
        shown += [bob.post(f"{OWN}/reset", {"new": NEW}), bob.post(f"{OWN}/reset", {"new": NEW, "reason": "x"})]
        token = {"x-csrf-token": carol.csrf}
        shown += [carol.send_json("POST", f"/api/v1{OWN}/password", {"old": GUESS, "new": {"x": NEW}}, **token)]
        shown += [carol.get(PAGE), bob.get(f"{PAGE}?agent={AGENT}"), bob.get("/audit-log")]
        shown += [carol.get("/api/v1/settings/payment"), carol.get("/api/v1/settings/payment/accounts")]
    everything = [answer.text + str(answer.headers) for answer in shown] + [str(lines)]
    everything += [path.read_bytes().decode("latin-1") for path in tmp_path.glob("console.sqlite3*")]
    assert sum(len(one) for one in everything) > 100_000
    assert not [word for word in (OLD, NEW, GUESS) if any(word in one for one in everything)]


def test_a_wrong_old_password_is_no_change_for_a_replay(house: House) -> None:
    change(house.signed_in("carol"), "", OLD)
    before = house.read(lambda tx: password_set_at(tx, AGENT, "u"))
    house.clock.move(60)
    change(house.signed_in("carol"), GUESS)
    assert house.read(lambda tx: password_set_at(tx, AGENT, "u")) == before
