"""What every answer of the console says to browsers, and what it never gives: other files, other methods, other origins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline import operations_users as operations
from pipeline.console.reconciliation import MAX_BILL_BYTES
from pipeline.console.rendering import STATIC
from pipeline.console.shell import ALWAYS
from pipeline.operations_users import Role
from pipeline.passwords import Passwords
from pipeline.secret import Secret
from pipeline.store import users
from tests.unit.console_house import AGENT, CHEAP, HOST, PASSWORD, House, console_at
from tests.unit.console_steps import WRONG, is_in, type_password

A_YEAR_S = 366 * 86_400.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with console_at(f"sqlite:///{tmp_path / 'console.sqlite3'}", tmp_path) as house:
        yield house


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for all that only look."""
    folder = tmp_path_factory.mktemp("console")
    with console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder) as house:
        yield house


class Passwordish(HTMLParser):
    """The fields of a page that take a password, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "input" and known.get("name") in ("password", "repeated", "old", "new"):
            self.found.append(known)


def test_every_kind_of_answer_has_the_headers_and_its_true_type(site: House) -> None:
    browser = site.signed_in("carol")
    kinds = {
        "/orders": "text/html; charset=utf-8",
        "/nothing": "text/html; charset=utf-8",
        "/api/v1/orders": "application/json",  # JSON is UTF-8 by RFC 8259, and has no charset
        "/api/v1/nothing": "application/json",
        "/static/console.js": "text/javascript; charset=utf-8",
        "/static/console.css": "text/css; charset=utf-8",
        "/reports/sales.csv": "text/csv; charset=utf-8",
    }
    for path, kind in kinds.items():
        answer = browser.get(path, origin="https://evil.example")
        assert {name: answer.header(name.lower()) for name in ALWAYS} == ALWAYS, path
        assert answer.header("content-type") == kind, path
        assert answer.header("access-control-allow-origin") is None
        assert (answer.header("cache-control") == "no-store") is not path.startswith("/static/")
    policy = ALWAYS["Content-Security-Policy"]
    for directive in ("default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert directive in policy
    assert ALWAYS["Server"] == "daifu"


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static", "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/shell.py", "/.git/config", "/static/./../templates/login.html"],
)  # fmt: skip
def test_no_other_file_and_no_list_of_files_is_served(site: House, path: str) -> None:
    answer = site.browser().get(path)
    assert answer.status in (303, 307, 404)
    assert "def " not in answer.text
    assert "console.js</" not in answer.text


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "PROPFIND"])
def test_a_method_that_no_page_has_is_refused(site: House, method: str) -> None:
    browser = site.signed_in("carol")
    answer = browser.send_json(method, "/orders", x_secret="an invented header")
    assert answer.status in (403, 405)
    assert "an invented header" not in answer.text


def test_passwords_are_masked_and_password_managers_may_fill_them_in(site: House) -> None:
    token = site.write(lambda tx: operations.reset_password(tx, "dave", "新设备", "human:alice"))
    pages = {"/login": 1, f"/start/{token.reveal()}": 2}
    fields = [one for path in pages for one in Passwordish(site.browser().get(path).text).found]
    fields += Passwordish(site.signed_in("carol").get("/account").text).found
    assert len(fields) == sum(pages.values()) + 3
    assert {one["type"] for one in fields} == {"password"}
    assert {one["autocomplete"] for one in fields} == {"current-password", "new-password"}


def test_the_script_keeps_nothing_runs_nothing_and_writes_no_html() -> None:
    script = (STATIC / "console.js").read_text("utf-8")
    found = re.findall(
        r"localStorage|sessionStorage|indexedDB|document\.cookie|eval|Function\(|innerHTML|outerHTML|insertAdjacentHTML|"
        r"document\.write|postMessage|__proto__|prototype|import\(",
        script,
    )
    assert found == []
    assert script.startswith('"use strict";')


def test_every_page_of_who_is_signed_in_has_a_way_out(site: House) -> None:
    browser = site.signed_in("alice")
    for path in ("/", "/orders", "/users", "/account", "/funds", "/audit-log", "/nothing"):
        assert 'action="/logout"' in browser.get(path).text, path


def test_a_password_counts_as_it_is_and_does_not_age(house: House) -> None:
    """No case, no blank and no end of it is lost; after a year it is still good."""
    passwords = Passwords(CHEAP)
    long = "vh4kq9zt2mx " * 10 + "tail"
    for text in (" Blanks Count ", long):
        digest = passwords.digest(Secret(text))
        assert passwords.fits(digest, Secret(text))
        for other in (text.strip(), text.lower() + "x", text[:-1], text + " "):
            assert passwords.fits(digest, Secret(other)) is (other == text)
    house.clock.move(A_YEAR_S)
    assert type_password(house.browser(), "carol") == 303


def test_fields_that_a_form_does_not_have_change_nothing(house: House) -> None:
    """Mass assignment: more of a user than its form asks for."""
    carol = house.signed_in("carol")
    more = {"role": "supervisor", "agent": "other", "sub": "0", "id": "1", "disabled_at": "0", "user_id": "1"}
    new = "another invented phrase"
    carol.post("/account/password", {"old": PASSWORD, "new": new, "repeated": new, **more})
    carol.get("/users")
    carol.post("/sub-accounts", {"name": "carols-clerk", **more, "sub": "false"})
    for name, sub in (("carol", False), ("carols-clerk", True)):
        row = house.read(lambda tx, name=name: users.by_name(tx, name))
        assert (row.role, row.agent, bool(row.sub)) == (Role.AGENT, AGENT, sub)


def test_a_reset_password_does_not_stand_in_for_the_code(house: House) -> None:
    house.signed_in("bob")
    link = house.write(lambda tx: operations.reset_password(tx, "bob", "忘记", "human:alice"))
    browser = house.browser()
    browser.get(f"/start/{link.reveal()}")
    new = "another invented phrase"
    answer = browser.post(f"/start/{link.reveal()}", {"password": new, "repeated": new})
    assert answer.goes_to == "/login"
    assert not is_in(browser)
    browser.get("/login")
    assert browser.post("/login/code", {"code": house.code("bob")}).goes_to == "/"
    assert is_in(browser)


def test_a_session_is_256_bits_that_nobody_can_know(site: House) -> None:
    tokens = {site.session("carol") for _ in range(20)}
    assert len(tokens) == 20
    assert all(re.fullmatch(r"[\w-]{43}", token) for token in tokens)


def test_who_is_refused_what_and_from_where_is_in_the_log_without_what_was_sent(house: House) -> None:
    """403 by role and by forgery, 409, 422 and 429; an address that holds a one-time link is not written down."""
    carol, alice = house.signed_in("carol"), house.signed_in("alice", address="198.51.100.7")
    link = house.write(lambda tx: operations.reset_password(tx, "dave", "忘记", "human:alice")).reveal()
    with capture_logs() as logged:
        carol.get("/audit-log")
        house.browser().post(f"/start/{link}", {"password": WRONG})
        alice.post("/users/alice", {"act": "disable", "reason": "x"}, referer=f"http://{HOST}/users")
        alice.post("/users", {"name": "x" * 300, "role": "king"})
        for _ in range(6):
            type_password(house.browser(), "nobody", WRONG)
    said = [
        (line["path"], line["why"], line["who"], line["address"])
        for line in logged
        if line["event"] == "console_refused"
    ]
    assert said == [
        ("/audit-log", "Forbidden", "human:carol", "192.0.2.1"),
        ("/start/{token}", "Forged", "", "192.0.2.1"),
        ("/users/{name}", "yourself", "human:alice", "198.51.100.7"),
        ("/users", "invalid", "human:alice", "198.51.100.7"),
        ("/login", "TooManyTries", "", "192.0.2.1"),
    ]
    assert link not in str(logged)
    assert WRONG not in str(logged)
    assert "king" not in str(logged)


@pytest.mark.parametrize("address", ["http://[::1", "http://[x]/", "null", "//", "\x01"])
def test_an_origin_or_a_referer_that_is_no_address_is_a_foreign_one(site: House, address: str) -> None:
    browser = site.signed_in("alice")
    assert browser.post("/users", {"name": "erin", "role": "operator"}, origin=address).status == 403
    refused = browser.post("/users/alice", {"act": "disable", "reason": "x"}, referer=address)
    assert refused.status == 409, "shown where it is, not on a page of somebody else"


def test_signing_out_clears_what_the_browser_kept(site: House) -> None:
    browser = site.signed_in("carol")
    assert browser.post("/logout").header("clear-site-data") == '"cache", "storage"'


def test_over_https_every_cookie_has_the_prefix_and_the_policy_holds_for_all_names_below(site: House) -> None:
    browser = site.browser(scheme="https")
    first = browser.get("/login")
    browser.post("/login", {"name": "carol", "password": PASSWORD}, origin=f"https://{HOST}")
    browser.get("/account")
    browser.post("/account/sessions", origin=f"https://{HOST}")
    assert set(browser.cookies) == {"__Host-daifu_session", "__Host-daifu_flash"}
    assert "includeSubDomains" in (first.header("strict-transport-security") or "")
    assert "其他地方的登录已退出" in browser.get("/account").text


def test_a_bill_of_more_than_20_megabytes_is_not_read(site: House) -> None:
    browser = site.signed_in("bob")
    kind = {"content-type": "multipart/form-data; boundary=b", "x-csrf-token": browser.csrf}
    for path in ("/reconciliation/bills", "/api/v1/reconciliation/bills"):
        assert browser._send("POST", path, b"x" * (MAX_BILL_BYTES + 1), kind).status == 413
