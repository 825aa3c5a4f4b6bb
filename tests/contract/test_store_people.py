"""People, their sessions and what is written about their acts, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pipeline.operations_errors import Refused
from pipeline.operations_users import Role, add_user, disable_user, first_link, use_link
from pipeline.secret import Secret
from pipeline.store import history
from pipeline.store.acts import ActFilter, all_acts, list_acts
from pipeline.store.engine import Presence, Transaction
from pipeline.tries import TRIES_BOTH, TooManyTries
from tests.contract.store_subjects import POSTGRESQL, SQLITE, url_of
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, PASSWORD, PEOPLE, House, console_at


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with console_at(url_of(request.param, request, tmp_path), tmp_path) as house:
        yield house


def test_people_sign_in_look_around_and_leave(house: House) -> None:
    orders = Orders(house.store, AGENT, house.desk.vault_key)
    orders.set_up()
    orders.one_of_each()
    for name in PEOPLE:
        browser = house.browser()
        browser.get("/login")
        browser.post("/login", {"name": name, "password": PASSWORD})
        if name in ("alice", "bob"):
            browser = house.signed_in(name)
        else:
            browser.get("/confirm")
            assert browser.post("/confirm", {"proof": PASSWORD}).goes_to == "/"
        assert browser.get("/account").text.count("本机</small>") == 1
        mine = name != "dave"
        assert (orders.made[0] in browser.get("/orders").text) is mine
        assert browser.get(f"/orders/{orders.made[-1]}").status == (200 if mine else 404)
        assert browser.post("/logout").goes_to == "/login"
        assert browser.get("/orders").status == 303


def test_the_audit_log_takes_no_update_and_no_delete(house: House) -> None:
    for statement in ("UPDATE audit_log SET actor = 'human:nobody'", "DELETE FROM audit_log"):
        with pytest.raises(DBAPIError, match="append-only"):
            house.write(lambda tx, statement=statement: tx.run(text(statement)))
    assert house.read(lambda tx: list_acts(tx, ActFilter())).rows


def test_an_act_says_in_which_role_from_where_and_why(house: House) -> None:
    def act(tx: Transaction) -> None:
        tx.presence = Presence("operator", "192.0.2.7")
        history.audit(tx, "human:bob", "tasks.close", "7", resolution="paid", evidence="账单第 3 行")

    house.write(act)
    (row,) = house.read(lambda tx: list_acts(tx, ActFilter(subject="7"))).rows
    wanted = {"role": "operator", "origin": "192.0.2.7", "reason": "账单第 3 行", "result": "done"}
    assert row.items() >= wanted.items()


def test_every_act_is_read_once_page_by_page(house: House) -> None:
    def fill(tx: Transaction) -> None:
        for n in range(2_100):
            history.audit(tx, "human:ann", "tasks.take", str(n))

    house.write(fill)
    found = [act["subject"] for act in all_acts(house.store, ActFilter(actor="human:ann"))]
    assert found == [str(n) for n in reversed(range(2_100))]


def test_guesses_at_the_same_moment_are_all_counted(house: House) -> None:
    looked_at, refused = [], []

    def guess() -> None:
        try:
            house.desk.sign_in.by_password("carol", Secret("not the pass phrase"), "192.0.2.1")
        except TooManyTries:
            refused.append(1)
        except Exception as error:  # noqa: BLE001 - a wrong password is what is expected; the type is asserted below
            looked_at.append(type(error).__name__)

    threads = [threading.Thread(target=guess) for _ in range(4 * TRIES_BOTH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(looked_at) <= {"SignInRefused"}
    assert len(looked_at) <= TRIES_BOTH
    assert len(refused) + len(looked_at) == len(threads)


def test_two_supervisors_cannot_remove_each_other_at_the_same_moment(house: House) -> None:
    house.write(lambda tx: add_user(tx, "amy", Role.SUPERVISOR, None, "a hash", "human:alice"))
    said: list[str] = []

    def remove(name: str, by: str) -> None:
        try:
            house.write(lambda tx: disable_user(tx, name, "x", f"human:{by}"))
            said.append("done")
        except Refused as refusal:
            said.append(refusal.code)

    threads = [threading.Thread(target=remove, args=pair) for pair in (("amy", "alice"), ("alice", "amy"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["done", "last_supervisor"]


def test_a_link_is_used_once_however_many_try(house: House) -> None:
    new = house.write(lambda tx: add_user(tx, "eve", Role.OPERATOR, None, None, "human:alice"))
    assert new.link is not None
    done: list[str] = []

    def use() -> None:
        try:
            done.append(house.write(lambda tx: use_link(tx, new.link, "", "a hash")))
        except Exception as error:  # noqa: BLE001 - how it is refused is asserted below
            done.append(type(error).__name__)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["NotFound"] * 3 + ["eve"]


def test_there_is_no_first_link_where_there_are_people(house: House) -> None:
    assert house.write(first_link) is None
