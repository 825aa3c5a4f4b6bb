"""Login tries: 12306 locks an account at the fourth wrong password, so whatever may count there stays counted here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.payment_items import Again, Ended, PaymentResult
from pipeline.clock import WallClock
from pipeline.railway.http_railway import HttpRailway
from pipeline.reasons import Reason
from pipeline.store import accounts, tables
from pipeline.store.engine import Done, StoreUnavailable, Transaction
from tests.unit.canned_server import Canned, Talk, canned, http, http_json
from tests.unit.desk_world import ACCOUNT, Desk, desk_at
from tests.unit.payment_world import Outside, PayingDesk, held

INIT = http("<html>登录</html>")
NO_CAPTCHA = http_json({"status": True, "data": {"is_login_passCode": "N"}, "messages": []})
UNHEARD_OF = http_json({"status": True, "data": {}, "messages": ["账号或密码有误"]})
BUSY = http_json({"status": False, "messages": ["系统繁忙，请稍后重试"]})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(f"sqlite:///{tmp_path / 'desk.sqlite3'}") as desk:
        yield desk


def tries(desk: Desk) -> int:
    row = desk.read(lambda tx: accounts.account(tx, ACCOUNT))
    assert row is not None
    return int(row.refused_tries)


def posted(server: Canned) -> int:
    return sum(b"loginAysnSuggest" in request.split(b"\r\n")[0] for request in server.requests)


async def call(desk: Desk, server: Canned, *, in_hand: bool = True) -> PaymentResult:
    railway = HttpRailway(server.base, cashier_url=server.base, timeout_s=5.0, clock=WallClock())
    paying = PayingDesk(desk, Outside(), railway, in_hand_retry_s=30.0 if in_hand else 0.0)
    result = await paying.calls.pay(paying.claim())
    paying.conclude(result)
    return result


def paid(desk: Desk, *answers: bytes, talk: Talk | None = None, in_hand: bool = True) -> tuple[PaymentResult, int]:
    async def run() -> tuple[PaymentResult, int]:
        async with canned(*answers, talk=talk) as server:
            return await call(desk, server, in_hand=in_hand), posted(server)

    return asyncio.run(run())


def test_an_unheard_of_refusal_is_counted_and_not_made_again_at_once(desk: Desk) -> None:
    PayingDesk(desk, Outside()).ready()
    result, sent = paid(desk, INIT, NO_CAPTCHA, UNHEARD_OF)
    assert isinstance(result, Again)
    assert (sent, tries(desk)) == (1, 1)


def test_after_three_unheard_of_refusals_the_fourth_is_not_made(desk: Desk) -> None:
    PayingDesk(desk, Outside()).ready()
    for count in range(3):
        assert paid(desk, INIT, NO_CAPTCHA, UNHEARD_OF)[1] == 1
        assert tries(desk) == count + 1
        desk.later(60)
    result, sent = paid(desk, INIT, NO_CAPTCHA, UNHEARD_OF)
    assert isinstance(result, Ended)
    assert (result.reason, sent) == (Reason.WRONG_PASSWORD, 0)


def test_an_answer_to_the_password_that_breaks_off_is_counted(desk: Desk) -> None:
    PayingDesk(desk, Outside()).ready()
    result, sent = paid(desk, INIT, NO_CAPTCHA, b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{")
    assert isinstance(result, Again)
    assert (sent, tries(desk)) == (1, 1)


def test_what_fails_before_the_password_is_not_counted(desk: Desk) -> None:
    PayingDesk(desk, Outside()).ready()
    result, sent = paid(desk, INIT, http("", "503 Busy"), in_hand=False)
    assert isinstance(result, Again)
    assert (sent, tries(desk)) == (0, 0)


def test_12306_that_says_it_is_busy_has_not_judged_the_password(desk: Desk) -> None:
    PayingDesk(desk, Outside()).ready()
    result, sent = paid(desk, INIT, NO_CAPTCHA, BUSY, in_hand=False)
    assert isinstance(result, Again)
    assert (sent, tries(desk)) == (1, 0)


@pytest.mark.parametrize(("answers", "counted"), [((INIT, NO_CAPTCHA), 1), ((INIT,), 0)])
def test_a_drain_leaves_counted_what_may_have_reached_12306(
    desk: Desk, answers: tuple[bytes, ...], counted: int
) -> None:
    async def run() -> PaymentResult:
        hung = asyncio.Event()
        server_state = iter(answers)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            answer = next(server_state, None)
            if answer is None:
                hung.set()
                await reader.read()  # until the client goes away
            else:
                writer.write(answer)
                await writer.drain()

        async with canned(talk=talk) as server:
            paying = asyncio.ensure_future(call(desk, server))
            await hung.wait()
            paying.cancel()
            return await paying

    PayingDesk(desk, Outside()).ready()
    result = asyncio.run(run())
    assert isinstance(result, Again)
    assert tries(desk) == counted


def gone(*_: object) -> None:
    raise StoreUnavailable("connection refused")


def paying_at(desk: Desk) -> PayingDesk:
    """With a purchase that can be paid for an hour."""
    paying = PayingDesk(desk, Outside())
    paying.outside.unpaid = [held(paying.in_an_hour())]
    paying.ready()
    return paying


def test_logins_that_went_through_while_the_database_was_away_do_not_block_the_account(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    paying = paying_at(desk)
    for _ in range(accounts.MAX_REFUSED_TRIES + 1):
        item = paying.claim()
        with monkeypatch.context() as away:
            away.setattr(accounts, "take_back_tries", gone)
            result = asyncio.run(paying.calls.pay(item))
        assert isinstance(result, Again)
        assert tries(desk) == 1
        paying.conclude(result)
        assert tries(desk) == 0
        desk.later(60)


def test_a_try_without_a_password_is_taken_back_when_the_database_is_there_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    PayingDesk(desk, Outside()).ready()
    assert paid(desk, INIT, NO_CAPTCHA, UNHEARD_OF)[1] == 1
    desk.later(60)
    monkeypatch.setattr(accounts, "uncount_try", gone)
    result, sent = paid(desk, INIT, http("", "503 Busy"), in_hand=False)
    assert isinstance(result, Again)
    assert (sent, tries(desk)) == (0, 1)  # the one that 12306 may have counted


def test_a_login_that_went_through_forgets_no_try_that_somebody_else_has_counted_since(desk: Desk) -> None:
    one = [(ACCOUNT, "fingerprint")]
    assert desk.write(lambda tx: accounts.count_tries(tx, one)) == {ACCOUNT: 1}
    desk.write(lambda tx: accounts.count_tries(tx, one))
    desk.write(lambda tx: accounts.take_back_tries(tx, [(ACCOUNT, 1, 0)]))
    assert tries(desk) == 2
    desk.write(lambda tx: accounts.take_back_tries(tx, [(ACCOUNT, 2, 0)]))
    assert tries(desk) == 0


def test_a_password_that_was_refused_is_not_counted_again_and_another_one_is(desk: Desk) -> None:
    assert desk.write(lambda tx: accounts.count_tries(tx, [(ACCOUNT, "old")])) == {ACCOUNT: 1}
    desk.write(lambda tx: accounts.refuse_credential(tx, ACCOUNT, "old", desk.clock.moment))
    assert desk.write(lambda tx: accounts.count_tries(tx, [(ACCOUNT, "old")])) == {}
    assert desk.write(lambda tx: accounts.count_tries(tx, [(ACCOUNT, "new")])) == {ACCOUNT: 2}


def test_tries_are_taken_back_only_by_the_worker_that_still_has_the_account(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    paying = paying_at(desk)
    item = paying.claim()
    with monkeypatch.context() as away:
        away.setattr(accounts, "take_back_tries", gone)
        result = asyncio.run(paying.calls.pay(item))
    paying.act(lambda tx: tx.run(tables.railway_accounts.update().values(lease_owner="payment-2", refused_tries=2)))
    paying.conclude(result)
    assert tries(desk) == 2


def test_a_try_that_was_taken_back_by_a_commit_nobody_confirmed_is_not_taken_back_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    PayingDesk(desk, Outside()).ready()
    assert paid(desk, INIT, NO_CAPTCHA, UNHEARD_OF)[1] == 1
    desk.later(60)
    usual, uncount, unconfirmed = desk.store.write, accounts.uncount_try, []

    def noted(tx: Transaction, login: str) -> None:
        uncount(tx, login)
        unconfirmed.append(login)

    def write(work: Callable[[Transaction], Any]) -> Done[Any]:
        done = usual(work)
        if unconfirmed:
            unconfirmed.clear()
            gone()
        return done

    monkeypatch.setattr(accounts, "uncount_try", noted)
    monkeypatch.setattr(desk.store, "write", write)
    assert paid(desk, INIT, http("", "503 Busy"), in_hand=False)[1] == 0
    assert tries(desk) == 1  # the one that 12306 may have counted
