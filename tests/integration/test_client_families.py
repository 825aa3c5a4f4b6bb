"""The three families of agents' programs against the running system, each with every behaviour of the sandbox.

Whatever 12306 and the cashier do: no client ends with a ticket paid twice, or with a user refunded while we pay.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.integration.clients.client import Client, Job
from tests.integration.clients.counter import Counter
from tests.integration.clients.hthy import Hthy
from tests.integration.clients.l9e import L9e
from tests.integration.clients.takit import Takit
from tests.integration.pipeline_endings import ENDINGS
from tests.integration.pipeline_house import House, start_embedded
from tests.integration.pipeline_orders import Am
from tests.integration.pipeline_process import until

FAMILIES: Final = ("takit", "hthy", "l9e")
PASSWORD: Final = "invented-for-all-accounts"
#: What only answers after the hold's deadline can prove: these get a short one.
NEED_THE_DEADLINE: Final = (
    "reset_before_read", "timeout_unpaid", "error_unpaid", "redirect_307", "paid_not_issued", "agent_pays_after_look",
)  # fmt: skip
DEADLINE_S: Final = 24.0
TIMES: Final = {"VERIFY_WINDOW_S": "30", "SUBMIT_WITHIN_S": "20", "LEASE_S": "10", "REPEAT_WINDOW_S": "2"}
LOST: Final = "callback_lost"
CLOSED_FOR_GOOD: Final = ("no_ticket", "refunded")


@dataclass(frozen=True)
class Played:
    am: Am
    clients: dict[str, Client]
    rows: dict[str, dict[str, Any]]
    pays: Tally[str]
    debits: Tally[str]

    def job(self, family: str, behaviour: str) -> Job:
        return self.clients[family].jobs[order_no(family, behaviour)]

    def row(self, family: str, behaviour: str) -> dict[str, Any]:
        return self.rows[order_no(family, behaviour)]


def order_no(family: str, behaviour: str) -> str:
    return f"{family}141117203122{behaviour}"


def make_client(family: str, base: str, key: str, sandbox_url: str) -> Client:
    behaviours = {order_no(family, name): name for name in ENDINGS}
    deadlines = {order_no(family, name): DEADLINE_S for name in NEED_THE_DEADLINE}
    counter = Counter(sandbox_url, PASSWORD, behaviours, deadlines)
    prefix = str(FAMILIES.index(family) + 1)
    if family == "l9e":
        return L9e(base, family, key, counter, prefix, password=PASSWORD)
    return (Takit if family == "takit" else Hthy)(base, family, key, counter, prefix)


async def play(house: House, am: Am) -> dict[str, Client]:
    base = house.processes["up"].address("http") + "/api/pub"
    clients: dict[str, Client] = {}
    for family in FAMILIES:
        client = clients[family] = make_client(family, base, family.upper() * 8, house.sandbox_url)
        client.deaf_to = {order_no(family, LOST)}
        am.add_agent(family, key=client.key)
        house.json("agents", "set-callback", family, await client.listen())
        house.json("agents", "set-password", family, stdin=PASSWORD)
    names = {family: [*ENDINGS, *([LOST] if family == "takit" else [])] for family in FAMILIES}
    wanted = {family: {order_no(family, name) for name in names[family]} for family in FAMILIES}
    am.send([am.event(am.order(number, agent=family)) for family in FAMILIES for number in sorted(wanted[family])])
    await asyncio.gather(*(client.run(wanted[family], 90) for family, client in clients.items()))
    return clients


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """All three at once against one `daifu up`, until the clients and the orders are at their ends."""
    house = start_embedded(tmp_path_factory.mktemp("families"), **TIMES)
    try:
        am = Am(house)
        clients = asyncio.run(play(house, am))
        rows = until("all purchases decided", lambda: _decided(am.rows()), 45)
        journal = Tally((line["held_order_no"], line["kind"]) for line in am.journal())
        pays = Tally({hold: n for (hold, kind), n in journal.items() if kind == "pay"})
        debits = Tally({hold: n for (hold, kind), n in journal.items() if kind == "debit"})
        yield Played(am, clients, rows, pays, debits)
    finally:
        house.close()


def _decided(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    live = [row for row in rows.values() if row["generation"] and row["outcome"] is None]
    return None if live or any(row["state"] == "purchased" for row in rows.values()) else rows


def every(*, ending: str | None = None) -> list[tuple[str, str]]:
    return [
        (family, name)
        for family in FAMILIES
        for name in ENDINGS
        if ending is None or ENDINGS[name].pay_status == ending
    ]


@pytest.mark.parametrize(("family", "behaviour"), every())
def test_no_ticket_is_paid_twice_and_no_user_is_refunded_while_money_went(
    played: Played, family: str, behaviour: str
) -> None:
    job, row = played.job(family, behaviour), played.row(family, behaviour)
    assert job.held is not None
    assert played.debits[job.held.number] <= 1, job.did
    if row["order_state"] in CLOSED_FOR_GOOD:
        assert played.debits[job.held.number] == 0, job.did
        assert row["outcome"] == "held_unpaid"
    assert job.state != "RETURN", job.did


@pytest.mark.parametrize(("family", "behaviour"), every(ending="1"))
def test_what_we_paid_the_client_takes_as_ticketed(played: Played, family: str, behaviour: str) -> None:
    job, row = played.job(family, behaviour), played.row(family, behaviour)
    assert (row["state"], row["order_state"], row["generation"]) == ("settled", "ticketed", 1), job.did
    assert job.state in ("FINISH", "6", "99"), job.did
    assert job.held is not None
    assert (played.pays[job.held.number], played.debits[job.held.number]) == (1, 1)


@pytest.mark.parametrize(("family", "behaviour"), every(ending="3"))
def test_what_is_abnormal_stays_with_people(played: Played, family: str, behaviour: str) -> None:
    job, row = played.job(family, behaviour), played.row(family, behaviour)
    assert row["state"] == "paid_abnormal", job.did
    assert job.state in ("HUMAN", "question", "61"), job.did
    assert row["order_state"] == "purchase_failed"


@pytest.mark.parametrize(("family", "behaviour"), every(ending="2"))
def test_what_we_did_not_pay_is_paid_by_the_agent_once_or_given_up(played: Played, family: str, behaviour: str) -> None:
    job, row = played.job(family, behaviour), played.row(family, behaviour)
    assert (row["state"], row["generation"]) == ("held_unpaid", 1), job.did
    if job.state in ("FINISH", "6", "99"):
        assert row["order_state"] == "ticketed_offline", job.did
    if job.state in ("77", "7"):
        assert row["order_state"] == "no_ticket", job.did


@pytest.mark.parametrize("family", FAMILIES)
def test_an_agent_pays_by_itself_what_we_could_not_for_a_wrong_price(played: Played, family: str) -> None:
    """price_changed: refused by us, payable for the agent; then it is the old way of working."""
    job, row = played.job(family, "price_changed"), played.row(family, "price_changed")
    assert row["reason"] == "price_mismatch"
    assert (job.state, row["order_state"]) == (
        {"takit": "FINISH", "hthy": "6", "l9e": "99"}[family],
        "ticketed_offline",
    )
    assert row["unfrozen_fen"] == 0


def test_takit_finds_by_itself_what_no_callback_told_it(played: Played) -> None:
    job, row = played.job("takit", LOST), played.row("takit", LOST)
    assert (row["state"], job.pay_status, job.state) == ("settled", "-1", "FINISH"), job.did
    assert row["agent_told"] is False


def test_hthy_accepted_the_signature_of_every_callback(played: Played) -> None:
    assert played.clients["hthy"].refused_callbacks == 0


def test_the_books_add_up(played: Played) -> None:
    audit = played.am.house.json("audit")
    assert audit["ok"], audit


def test_nothing_unforeseen_was_logged_and_no_password_either(played: Played) -> None:
    logs = played.am.house.logs()
    assert PASSWORD not in logs
    bad = ("Traceback", "agents_door_failed", "agent_request_failed", "agent_requests_not_stored", "item_failed")
    assert not [line for line in logs.splitlines() if any(word in line for word in bad)]
