"""Who may do what, for every route of the console there is: a new route is tested by being there.

A route with path parameters needs a value of each in PLACES: carol's agent's, which dave of another agent must not see.
"""

# long: the same questions to every page and API, over one world made for them

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel

from pipeline import operations
from pipeline.console import app as console
from pipeline.console.visit import SAFE, Visit, may_of
from pipeline.operations_announcements import publish_announcement, withdraw_announcement
from pipeline.operations_users import Role, add_sub_account
from pipeline.secret import Secret
from pipeline.store import dead_letters, history, tasks, users
from pipeline.store.engine import Transaction
from pipeline.store.queries_letters import LetterFilter, list_letters
from pipeline.store.queries_reconciliation import BreakFilter, page_of_breaks
from tests.unit.bill_world import Moved, account_bill, day_of
from tests.unit.console_data import PRICE_FEN, SCRIPT, Orders
from tests.unit.console_house import AGENT, PEOPLE, Answer, Browser, House, console_at

IN_ROLE = {Role.SUPERVISOR: "alice", Role.OPERATOR: "bob", Role.AGENT: "carol"}
ROUTES = [(route, method) for route in console.routes() for method in sorted(route.methods or ())]
GUARDED = [pair for pair in ROUTES if may_of(pair[0]).roles]
UNSAFE = [pair for pair in ROUTES if pair[1] not in SAFE]
# A path's parameters where a made-up value will do: there nothing is anybody's.
MADE_UP = {"token": "no-such-token"}
OURS = re.compile(r"/(?!/)|#|\?|otpauth:|$")


class Tags(HTMLParser):
    """What of a page a browser would run, or load from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if (tag == "script" and not known.get("src")) or tag in ("style", "iframe", "object", "embed"):
            self.wrong.append(f"<{tag}>")
        for name, value in known.items():
            address = name in ("src", "href", "action", "formaction") and not OURS.match(value or "")
            if name.startswith("on") or name == "style" or address:
                self.wrong.append(f"{tag} {name}={value}")


def title(pair: object) -> str:
    return f"{pair[1]} {pair[0].path}" if isinstance(pair, tuple) else ""


@dataclass
class World:
    """A console with orders of carol's agent, some with a script where there should be a name, and everybody signed in."""

    house: House
    places: dict[str, str]
    browsers: dict[str, Browser]

    def path(self, route: APIRoute, places: dict[str, str] | None = None) -> str:
        values = MADE_UP | self.places | (places or {})
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values[found[1]], route.path)

    def ask(self, browser: Browser, route: APIRoute, method: str, path: str, **headers: str) -> Answer:
        """The request as the route wants it, with an empty form or body."""
        if method in SAFE:
            return browser.get(path, **headers)
        if is_api(route):
            return browser.send_json(method, path, {}, **{"x-csrf-token": browser.csrf, **headers})
        return browser.post(path, None, **headers)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("console")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        orders = Orders(house.store, AGENT, house.desk.vault_key, words=SCRIPT)
        orders.set_up()
        orders.one_of_each()
        order_no = orders.held_unpaid(detail=SCRIPT)
        house.write(lambda tx: history.audit(tx, "human:bob", SCRIPT, SCRIPT, reason=SCRIPT, before=SCRIPT))
        house.write(lambda tx: history.tell(tx, order_no, "noted", "human:bob", words=SCRIPT))
        browsers = {name: house.signed_in(name) for name in PEOPLE}
        letter_id = house.write(lambda tx: undecodable(tx, house))
        job_id = house.write(lambda tx: operations.make_job(tx, "human:bob", LetterFilter()))
        house.write(lambda tx: tasks.open_task(tx, "railway_refund", order_no, SCRIPT, SCRIPT))
        house.write(lambda tx: operations.pause(tx, operations.Scope.ACCOUNT, SCRIPT, SCRIPT, "human:bob"))
        task_id = house.read(tasks.find)[-1].id
        places = {"order_no": order_no, "task_id": str(task_id), "letter_id": str(letter_id), "job_id": str(job_id)}
        places |= billed(house, orders) | house.write(lambda tx: of_people(tx, house))
        yield World(house, places, browsers)


def of_people(tx: Transaction, house: House) -> dict[str, str]:
    """A sub-account of carol's, her agent, and announcements with a script in them."""
    carol = users.by_name(tx, "carol")
    assert carol is not None
    sub = add_sub_account(tx, carol.id, "carols-clerk", "human:carol")
    announced = [publish_announcement(tx, SCRIPT, SCRIPT, "human:bob") for _ in range(2)]
    withdraw_announcement(tx, announced[0], SCRIPT, "human:bob")
    operations.set_password(tx, AGENT, Secret("x"), house.desk.vault_key, "human:bob", login=SCRIPT)
    return {"name": sub.name, "agent": AGENT, "announcement_id": str(announced[1])}


def billed(house: House, orders: Orders) -> dict[str, str]:
    """A bill with scripts in it, and a payment of carol's agent that it shows with another amount."""
    paid = orders.settled()
    now = house.clock.now()
    lines = [
        Moved(f"T{orders.number(paid)}", PRICE_FEN + 1, now, "1", goods=SCRIPT),
        Moved(SCRIPT, 77, now, "2", SCRIPT, SCRIPT, SCRIPT),
    ]
    done = operations.upload_bill(house.write, SCRIPT, account_bill(lines, *day_of(now)).encode(), "human:bob")
    (found,) = house.read(lambda tx: page_of_breaks(tx, BreakFilter(order_no=paid))).rows
    house.write(lambda tx: operations.note_break(tx, found["id"], SCRIPT, "human:bob"))
    return {"agent": AGENT, "bill_id": str(done.bill_id), "break_id": str(found["id"])}


def undecodable(tx: Transaction, house: House) -> int:
    """A dead letter that keeps what nobody could read, with a script in it."""
    body = json.dumps({"type": SCRIPT, "data": {"remark": SCRIPT}}).encode()
    raw = {"uid": "raw", "stage": "intake", "reason": "poison", "detail": SCRIPT, "attempts": 1, "state": "open"}
    times = {"first_at": house.clock.now(), "last_at": house.clock.now()}
    dead_letters.add_raw(tx, [raw | times | {"body_sealed": house.desk.service_keys.public.seal(body)}])
    return int(list_letters(tx, LetterFilter(reason="poison"))[0]["id"])


def is_api(route: APIRoute) -> bool:
    return route.path.startswith("/api/")


def fields_of(route: APIRoute) -> tuple[dict[str, str], dict[str, str]]:
    """A script in every field: of the query, of the form or body."""
    queries: dict[str, str] = {}
    bodies: dict[str, str] = {}
    for given, into in ((route.dependant.query_params, queries), (route.dependant.body_params, bodies)):
        for one in given:
            kind: Any = one.field_info.annotation
            names = list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else [one.alias]
            into.update(dict.fromkeys(names, SCRIPT))
    return queries, bodies


@pytest.mark.parametrize("pair", GUARDED, ids=title)
def test_without_a_session_a_page_leads_to_the_sign_in_and_the_api_says_401(
    world: World, pair: tuple[APIRoute, str]
) -> None:
    route, method = pair
    answer = world.ask(world.house.browser(), route, method, world.path(route))
    if is_api(route):
        assert (answer.status, answer.json["error"]) == (401, "no_session")
    else:
        assert answer.goes_to.startswith("/login")


@pytest.mark.parametrize("pair", GUARDED, ids=title)
def test_a_session_that_lacks_its_code_is_none(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    browser = world.house.browser()
    browser.cookies["daifu_session"] = world.house.desk.sign_in.by_link("bob", browser.address).token.reveal()
    assert world.ask(browser, route, method, world.path(route)).status == (401 if is_api(route) else 303)


@pytest.mark.parametrize("pair", GUARDED, ids=title)
def test_a_role_that_may_not_is_told_so_and_one_that_may_is_let_in(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    allowed = may_of(route).roles
    for role, name in IN_ROLE.items():
        answer = world.ask(world.browsers[name], route, method, world.path(route))
        if role in allowed:
            assert answer.status not in (401, 403), f"{role} may"
            assert answer.status < 500
        else:
            assert answer.status == 403, f"{role} may not"


@pytest.mark.parametrize("pair", [one for one in GUARDED if "{" in one[0].path], ids=title)
def test_what_is_another_agents_is_not_found(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    if Role.AGENT in may_of(route).roles:
        own = world.ask(world.browsers["carol"], route, method, world.path(route))
        other = world.ask(world.browsers["dave"], route, method, world.path(route))
        assert own.status != 404
        assert other.status == 404
        assert AGENT not in other.text.replace(world.places["order_no"], "")


@pytest.mark.parametrize("pair", [one for one in GUARDED if "{" not in one[0].path and one[1] == "GET"], ids=title)
def test_a_list_shows_an_agent_nothing_of_another_whatever_it_asks_for(
    world: World, pair: tuple[APIRoute, str]
) -> None:
    route, _ = pair
    if Role.AGENT in may_of(route).roles:
        for query in ("", f"?agent={AGENT}", f"?order_no={world.places['order_no']}"):
            assert f"{AGENT}1" not in world.browsers["dave"].get(route.path + query).text.replace(query[1:], "")
            assert world.places["order_no"] not in world.browsers["dave"].get(route.path).text


@pytest.mark.parametrize("pair", UNSAFE, ids=title)
def test_a_forged_request_is_refused_whatever_it_claims(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    roles = may_of(route).roles
    browser = world.browsers[IN_ROLE[sorted(roles)[0]]] if roles else world.house.browser()
    good = browser.csrf or csrf_of(browser)
    path, other = world.path(route), world.browsers["dave"].csrf
    for token, headers in (
        ("", {}),
        (other, {}),
        (good + "x", {}),
        (good, {"origin": "https://evil.example"}),
        (good, {"origin": "null"}),
        (good, {"sec-fetch-site": "cross-site"}),
        (good, {"sec-fetch-site": "same-site"}),
    ):
        sent = Browser(browser.app, cookies=dict(browser.cookies), csrf=token)
        assert world.ask(sent, route, method, path, **headers).status == 403, (token == good, headers)


def csrf_of(browser: Browser) -> str:
    browser.get("/login")
    return browser.csrf


@pytest.mark.parametrize("pair", ROUTES, ids=title)
def test_a_script_in_every_field_is_shown_or_refused_and_never_runs(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    roles = may_of(route).roles
    browser = world.browsers["alice" if Role.SUPERVISOR in roles else "carol"] if roles else world.house.browser()
    if not browser.csrf:
        csrf_of(browser)
    queries, bodies = fields_of(route)
    for query in [{}, queries, *({name: value} for name, value in queries.items())]:
        answer = ask_with(world, browser, (route, method), query, bodies)
        assert answer.status < 500, (query, answer.text)
        if (answer.header("content-type") or "").startswith("text/html"):
            assert not Tags(answer.text).wrong, (route.path, query)


def ask_with(
    world: World, browser: Browser, pair: tuple[APIRoute, str], query: dict[str, str], body: dict[str, str]
) -> Answer:
    route, method = pair
    path = world.path(route) + (f"?{urlencode(query)}" if query else "")
    if method in SAFE:
        return browser.get(path)
    if is_api(route):
        return browser.send_json(method, path, body, **{"x-csrf-token": browser.csrf})
    return browser.post(path, body)


@pytest.mark.parametrize("pair", [one for one in ROUTES if one[1] == "GET"], ids=title)
def test_a_page_loads_nothing_from_outside_and_has_nothing_inline(world: World, pair: tuple[APIRoute, str]) -> None:
    route, method = pair
    browser = world.browsers["alice"] if may_of(route).roles else world.house.browser()
    answer = world.ask(browser, route, method, world.path(route))
    policy = answer.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.header("cache-control") == "no-store"
    if (answer.header("content-type") or "").startswith("text/html"):
        assert not Tags(answer.text).wrong
        assert "SANDBOX" in answer.text


@pytest.mark.parametrize("pair", [one for one in GUARDED if one[1] in SAFE], ids=title)
def test_asking_changes_nothing(world: World, pair: tuple[APIRoute, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No GET acts: a link or a picture on another page can do nothing in anybody's name."""

    def refuse(*_: object) -> None:
        raise AssertionError("a GET wrote")

    monkeypatch.setattr(Visit, "write", refuse)
    for name in ("alice", "carol"):
        assert world.ask(world.browsers[name], *pair, world.path(pair[0])).status < 500


def test_a_route_that_says_nothing_stops_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = APIRouter()

    @open_to_all.get("/forgotten")
    def forgotten() -> str:
        return ""

    monkeypatch.setattr(console, "ROUTERS", (*console.ROUTERS, open_to_all))
    with pytest.raises(ValueError, match="/forgotten"):
        console.create_app(world.house.desk)


def test_the_console_reads_through_queries_and_acts_through_operations() -> None:
    """As the CLI does: no module of the console takes a function that writes from the store."""
    reads = re.compile(r"queries\w*|pages|acts|users|engine|clock|work_keys")
    found = [
        f"{path.name}: {line}"
        for path in Path(console.__file__).parent.glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if (match := re.match(r"from pipeline\.store(?:\.(\w+))? import (.+)", line))
        and not all(reads.fullmatch(name.strip()) for name in ([match[1]] if match[1] else match[2].split(",")))
    ]
    assert not found
