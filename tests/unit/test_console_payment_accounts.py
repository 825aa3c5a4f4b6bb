"""代付设置: the 12306 accounts of an agent and what blocks them, and the trial call to its callback address."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from pipeline import operations
from pipeline.console.payment_settings_models import CALL_FAILURES, VERDICTS
from pipeline.operations_callback_trial import Verdict
from pipeline.ports import CallFailure
from pipeline.secret import Secret
from pipeline.store import accounts
from pipeline.store.agents import password_set_at
from pipeline.store.engine import Transaction
from tests.unit.canned_server import canned, http_json
from tests.unit.cli_home import Home
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, HOST, OTHER_AGENT, Answer, Browser, House, console_at
from tests.unit.console_steps import acts, said

OLD, NEW = "invented-old-6F1", "invented-new-9K2"
PAGE = "/settings/payment"
OWN = f"{PAGE}/{AGENT}"
LOOPBACK: dict[str, Any] = {"callback_allow_http": True, "callback_allow_nets": "127.0.0.0/8"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path, **LOOPBACK) as house:
        yield house


def used_accounts(house: House) -> tuple[str, str]:
    """Two 12306 accounts of AGENT: one that 12306 refused three times, one with a password of its own."""
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    refused, own = (str(orders.purchase(orders.requested()).login) for _ in range(2))

    def work(tx: Transaction) -> None:
        accounts.know(tx, refused, own, "somebody.elses")
        for n in range(3):
            accounts.count_tries(tx, [(refused, f"print{n}")])
            accounts.refuse_credential(tx, refused, f"print{n}", house.clock.now())
        accounts.lock(tx, refused, house.clock.now() + timedelta(hours=1))
        operations.set_password(tx, AGENT, Secret(OLD), house.desk.vault_key, "human:bob", login=own)

    house.write(work)
    return refused, own


def rows(browser: Browser, agent: str = AGENT) -> dict[str, Any]:
    found = browser.get(f"/api/v1/settings/payment/accounts?agent={agent}").json["rows"]
    return {row["account"]: row for row in found}


def test_accounts_are_shown_with_what_blocks_them_and_which_password_they_use(house: House) -> None:
    refused, own = used_accounts(house)
    carol, bob = house.signed_in("carol"), house.signed_in("bob")
    assert list(rows(carol)) == list(rows(bob)) == sorted((refused, own))
    assert (rows(carol)[refused]["blocked"], rows(carol)[refused]["refused_passwords"]) == (True, 3)
    assert rows(carol)[own]["own_password_since"] is not None
    assert rows(house.signed_in("dave")) == rows(bob, OTHER_AGENT) == {}
    page = carol.get(PAGE).text
    for words in ("已停止登录", "12306锁定至", "单独设置", "1 个账户单独设置了密码"):
        assert words in page, words
    assert "解除限制" not in page, "that is staff's"


def test_staff_unblocks_an_account_that_was_put_right(house: House) -> None:
    refused, _own = used_accounts(house)
    carol, bob = house.signed_in("carol"), house.signed_in("bob")
    assert carol.post(f"{OWN}/unblock", {"account": refused}).status == 403
    assert "解除限制" in bob.get(f"{PAGE}?agent={AGENT}").text
    assert bob.post(f"{OWN}/unblock", {"account": refused}).goes_to == f"{PAGE}?agent={AGENT}"
    assert (rows(bob)[refused]["blocked"], rows(bob)[refused]["refused_passwords"]) == (False, 0)
    assert bob.post(f"{OWN}/unblock", {"account": "nobody"}).status == 404


def test_an_account_uses_the_unified_password_again(house: House) -> None:
    _refused, own = used_accounts(house)
    carol = house.signed_in("carol")
    before = house.read(lambda tx: password_set_at(tx, AGENT, own))
    assert carol.post(f"{OWN}/unified", {"account": own, "reason": "已改成一样"}).goes_to == PAGE
    assert own in rows(carol), "it was used"
    assert rows(carol)[own]["own_password_since"] is None
    after = house.read(lambda tx: password_set_at(tx, AGENT, own))
    assert after is not None
    assert before is not None
    assert after > before, "a replay may now try another password than the refused one"
    assert carol.post(f"{OWN}/unified", {"account": own, "reason": "x"}).status == 404
    assert carol.post(f"{PAGE}/{OTHER_AGENT}/unified", {"account": own, "reason": "x"}).status == 404


def test_without_a_unified_password_an_account_keeps_its_own(house: House) -> None:
    house.write(lambda tx: operations.set_password(tx, AGENT, Secret(OLD), house.desk.vault_key, "human:b", login="u"))
    carol = house.signed_in("carol")
    answer = carol.post(f"{OWN}/unified", {"account": "u", "reason": "x"}, referer=f"http://{HOST}{PAGE}")
    assert "还没有设置统一密码" in said(carol, answer)
    assert rows(carol)["u"]["own_password_since"] is not None


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """An agent's program on loopback, on a thread: the handlers run loops of their own."""
    loop, ready, base = asyncio.new_event_loop(), threading.Event(), []
    over = asyncio.Event()

    async def serve() -> None:
        async with canned(*answers) as server:
            base.append(server.base)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    yield f"{base[0]}/told"
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def trial(house: House, name: str, url: str) -> Answer:
    house.write(lambda tx: operations.set_callback(tx, AGENT, url, "human:bob", allow_http=True))
    browser = house.signed_in(name)
    return browser.send_json("POST", f"/api/v1{OWN}/callback-test", {}, **{"x-csrf-token": browser.csrf})


@pytest.mark.parametrize(
    ("answer", "verdict", "works"),
    [
        ({"ret": True}, "taken", True),
        ({"ret": False, "errMsg": "no such order"}, "answered_false", True),
        ({"hello": 1}, "not_as_agreed", False),
    ],
)
def test_the_trial_call_says_what_the_answer_proves(house: House, answer: Any, verdict: str, works: bool) -> None:  # noqa: FBT001 - a table's column
    with answering(http_json(answer)) as url:
        result = trial(house, "carol", url).json
    assert (result["verdict"], result["works"], result["status"]) == (verdict, works, 200)
    assert result["words"] == VERDICTS[Verdict(verdict)]
    assert acts(house, "callbacks.test") == [("human:carol", "done", None)]


def test_the_result_is_shown_on_the_page_in_words(house: House) -> None:
    with answering(http_json({"ret": False, "errMsg": "<script>alert(1)</script>"})) as url:
        house.write(lambda tx: operations.set_callback(tx, AGENT, url, "human:bob", allow_http=True))
        bob = house.signed_in("bob")
        page = bob.post(f"{PAGE}?agent={AGENT}").text
    for words in ("回调地址可用", "按约定回答 ret 为 false", "HTTP 200", "&lt;script&gt;"):
        assert words in page, words
    assert bob.post(PAGE).status == 404, "whose?"


def test_a_page_that_shows_a_trial_can_be_left_by_a_refusal(house: House) -> None:
    house.write(lambda tx: operations.set_callback(tx, AGENT, "http://127.0.0.1:1/", "human:bob", allow_http=True))
    carol = house.signed_in("carol")
    assert "回调地址不可用" in carol.post(PAGE).text
    form = {"account": "u", "reason": "x"}
    assert "还没有设置统一密码" in said(carol, carol.post(f"{OWN}/unified", form, referer=f"http://{HOST}{PAGE}"))


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("http://127.0.0.1:1025/", CallFailure.BROKE_OFF),  # nobody listens there
        ("http://10.0.0.1/", CallFailure.DENIED),
        ("http://169.254.169.254/latest", CallFailure.DENIED),
        ("http://[::1]/", CallFailure.DENIED),
    ],
)
def test_an_address_that_is_not_reached_or_denied_is_told_in_words(
    house: House, url: str, failure: CallFailure
) -> None:
    result = trial(house, "carol", url).json
    assert (result["verdict"], result["works"], result["status"]) == ("not_reached", False, None)
    assert result["words"] == CALL_FAILURES[failure]
    assert result["answer"] == ""


def test_every_failure_and_verdict_has_its_words() -> None:
    assert set(CALL_FAILURES) == set(CallFailure)
    assert set(VERDICTS) == set(Verdict)


def test_trial_calls_leave_threads_for_the_pages(house: House) -> None:
    places = house.desk.trial_places
    while places.acquire(blocking=False):
        pass
    assert "正在测试别的" in trial(house, "carol", "http://127.0.0.1:1/").json["words"]
    places.release()
    assert trial(house, "carol", "http://127.0.0.1:1/").status == 200


def test_accounts_go_back_to_the_unified_password_by_command(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ready()
    home.json("agents", "add", AGENT, "--callback", "https://agent.example/told")
    home.json("agents", "set-password", AGENT, "--account", "u1", stdin=OLD)
    back = ("agents", "use-unified", AGENT, "--account", "u1", "--reason", "x")
    assert home.call(*back).exit_code == 4, "there is no unified one"
    home.json("agents", "set-password", AGENT, stdin=NEW)
    assert home.json(*back) == {"code": AGENT, "account": "u1", "unified": True}
    assert home.call(*back).exit_code == 1
    with home.store() as store:
        assert store.read(lambda tx: tx.run(text("SELECT count(*) FROM agent_accounts")).scalar_one()) == 0
