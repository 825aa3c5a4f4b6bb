"""12306 accounts: one call at a time over all workers and agents, and passwords that are never tried twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.cli.simulation.house import House, simulate
from pipeline.cli.simulation.trips import SAMPLE, hold_body, order_paid
from pipeline.store import accounts, tables
from pipeline.store.rows import insert_rows
from tests.simulation import books

NUMBERS = [f"{SAMPLE}-{n}" for n in range(6)]
LOGIN, PASSWORD = "shared@example.com", "invented-right"


async def ask(house: House, n: int, *, password: str | None = PASSWORD, agent: str = "xcslw", **hold: Any) -> None:
    """Hold seats number `n` on the shared account and ask to pay for them; `password` None: the request brings none."""
    number = f"E{n}00000000"
    house.world.add_hold(hold_body(number, LOGIN, PASSWORD, hold.pop("behaviour", "ok"), force=True, **hold))
    request = house.need_pay(NUMBERS[n], number, LOGIN, password, agent=agent)
    await house.send(house.event(order_paid(NUMBERS[n], agent=agent)), request)


def overlapping(calls: Sequence[tuple[float, str]]) -> int:
    """The most calls that were open at one time."""
    most = now = 0
    for _at, kind in calls:
        now += 1 if kind == "begin" else -1
        most = max(most, now)
    return most


@pytest.mark.parametrize("workers", [1, 2])
def test_one_account_used_by_two_agents_is_used_by_one_call_at_a_time(workers: int) -> None:
    async def scenario(house: House) -> None:
        house.add_agent("other")
        house.broker.bad_day.most_per_take = 1
        calls: list[tuple[float, str]] = []

        def note(stage: str, point: str) -> None:
            if stage == "payment" and point in ("login:before", "trade:after"):
                calls.append((house.clock.monotonic(), "begin" if point == "login:before" else "end"))

        house.plan = note
        for n in range(6):
            await ask(house, n, agent="xcslw" if n % 2 else "other", delay_ms=2_000)
        await house.until(lambda: books.is_done(house, *NUMBERS), within_s=300)
        assert overlapping(calls) == 1
        assert {books.purchase(house, number).state for number in NUMBERS} == {"settled"}
        # Freeing the account brings the next one forward: six calls of two seconds, not six leases of two minutes.
        assert house.clock.monotonic() < 60
        books.check_books(house)

    simulate(scenario, workers=workers)


def test_a_holder_that_died_keeps_the_account_no_longer_than_its_lease() -> None:
    async def scenario(house: House) -> None:
        house.restart_after_s = None
        await ask(house, 0, delay_ms=20_000)
        await ask(house, 1)
        await house.rest(5)
        house.kill("payment")
        house.start_process("payment")
        await house.until(lambda: books.is_done(house, *NUMBERS[:2]), within_s=300)
        assert {books.purchase(house, number).state for number in NUMBERS[:2]} == {"settled"}
        books.check_books(house)

    simulate(scenario)


def logins(house: House) -> list[str]:
    return [line["outcome"] for line in books.journal(house, "login", account=LOGIN)]


def test_a_refused_password_is_not_tried_again_by_later_purchases_and_a_changed_one_is() -> None:
    async def scenario(house: House) -> None:
        for n in range(3):
            await ask(house, n, password="invented-wrong")
            await house.rest(5)
            assert books.purchase(house, NUMBERS[n]).reason == "wrong_password"
        assert logins(house) == ["wrong_password"]
        await ask(house, 3)
        await house.rest(1)
        await house.until(lambda: books.is_done(house, NUMBERS[3]))
        assert books.purchase(house, NUMBERS[3]).state == "settled"
        assert logins(house) == ["wrong_password", "ok"]
        books.check_books(house)

    simulate(scenario)


def test_three_refused_passwords_block_the_account_until_a_person_unblocks_it() -> None:
    async def scenario(house: House) -> None:
        for n in range(5):
            await ask(house, n, password=f"invented-wrong-{n}" if n < 4 else PASSWORD)
            await house.rest(5)
            assert books.purchase(house, NUMBERS[n]).reason == "wrong_password"
        # The fourth wrong one would have locked the account at 12306; the right one is not tried either.
        assert logins(house) == ["wrong_password"] * 3
        assert house.write(lambda tx: accounts.unblock(tx, LOGIN))
        await ask(house, 5)
        await house.rest(5)
        assert books.purchase(house, NUMBERS[5]).state == "settled"
        books.check_books(house)

    simulate(scenario)


def test_questions_do_not_lock_an_account_whose_password_was_changed_meanwhile_and_go_on_once_it_is_put_right() -> None:
    async def scenario(house: House) -> None:
        await ask(house, 0, behaviour="timeout_unpaid")
        await house.rest(60)
        assert books.purchase(house, NUMBERS[0]).state == "in_doubt"
        changed = hold_body("E900000000", LOGIN, "invented-new", "ok", force=True)
        house.world.add_hold(changed)
        await house.rest(15 * 60)
        assert logins(house).count("wrong_password") == 1
        house.world.add_hold(changed | {"held_order_no": "E900000001", "password": PASSWORD})
        assert house.write(lambda tx: accounts.unblock(tx, LOGIN))
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        assert books.purchase(house, NUMBERS[0]).reason == "unpaid_after_deadline"
        assert logins(house).count("wrong_password") == 1
        books.check_books(house)

    simulate(scenario)


def test_a_locked_account_is_left_alone_for_as_long_as_it_is_locked() -> None:
    async def scenario(house: House) -> None:
        await ask(house, 0, behaviour="account_locked")
        await house.rest(5)
        await ask(house, 1)
        await house.rest(5)
        assert [books.purchase(house, number).reason for number in NUMBERS[:2]] == ["account_locked"] * 2
        assert logins(house) == ["locked"]
        books.check_books(house)

    simulate(scenario)


@pytest.mark.parametrize("source", ["message", "account", "unified", None])
def test_the_password_comes_from_the_message_then_the_account_then_the_agent(source: str | None) -> None:
    async def scenario(house: House) -> None:
        if source in ("message", "account"):
            sealed = house.vault.seal(PASSWORD if source == "account" else "invented-old")
            row = {"agent": "xcslw", "login": LOGIN, "password_sealed": sealed, "updated_at": house.clock.now()}
            house.write(lambda tx: insert_rows(tx, tables.agent_accounts, [row]))
        if source is not None:
            unified = house.vault.seal(PASSWORD if source == "unified" else "invented-older")
            house.write(lambda tx: tx.run(tables.agents.update().values(password_sealed=unified)))
        await ask(house, 0, password=PASSWORD if source == "message" else None)
        await house.rest(5)
        row_ = books.purchase(house, NUMBERS[0])
        if source is None:
            assert (row_.state, row_.reason) == ("held_unpaid", "credential_missing")
            assert books.told(house, NUMBERS[0]) == ["2"]
        else:
            assert row_.state == "settled"
            assert logins(house)[0] == "ok"
        books.check_books(house)

    simulate(scenario)


def test_a_drain_during_a_login_counts_no_refused_password() -> None:
    async def scenario(house: House) -> None:
        house.world.set_outage({"railway": True, "mode": "timeout", "for_s": 1_000})
        await ask(house, 0)
        for _ in range(4):
            await house.rest(10)
            await house.drain_process("payment")
        house.world.set_outage({"for_s": 0})
        await house.until(lambda: books.is_done(house, NUMBERS[0]))
        assert books.purchase(house, NUMBERS[0]).state == "settled"
        books.check_books(house)

    simulate(scenario)


def test_two_orders_on_one_hold_pay_it_once() -> None:
    async def scenario(house: House) -> None:
        await ask(house, 0, delay_ms=3_000)
        number = "E000000000"
        request = house.need_pay(NUMBERS[1], number, LOGIN, PASSWORD)
        await house.send(house.event(order_paid(NUMBERS[1])), request)
        await house.until(lambda: books.is_done(house, *NUMBERS[:2]))
        reasons = {books.purchase(house, no).reason for no in NUMBERS[:2]}
        assert reasons <= {None, "held_order_conflict", "already_paid"}
        assert None in reasons
        assert len(reasons) == 2
        books.check_books(house)

    simulate(scenario)


def test_a_fund_that_can_not_pay_for_all_pays_for_some_and_never_goes_below_zero() -> None:
    async def scenario(house: House) -> None:
        house.add_agent("poor", top_up_fen=2 * 124_100 + 50_000)
        for n in range(4):
            number, account = NUMBERS[n], f"poor{n}@example.com"
            house.world.add_hold(hold_body(f"E{n}00000000", account, PASSWORD, "ok"))
            request = house.need_pay(number, f"E{n}00000000", account, PASSWORD, agent="poor")
            await house.send(house.event(order_paid(number, agent="poor")), request)
        await house.until(lambda: books.is_done(house, *NUMBERS[:4]))
        ends = [(books.purchase(house, number).state, books.purchase(house, number).reason) for number in NUMBERS[:4]]
        assert sorted(ends, key=str) == sorted(
            [("settled", None)] * 2 + [("held_unpaid", "insufficient_funds")] * 2, key=str
        )
        assert books.balances(house, "poor")["procurement"] == 50_000
        books.check_books(house)

    simulate(scenario)
