"""The console without a network: a database of its own, people in every role, and a browser that speaks ASGI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pyotp
from argon2 import PasswordHasher
from starlette.types import ASGIApp

from pipeline import operations
from pipeline.broker.port import Depths
from pipeline.broker.topology import TOPOLOGY
from pipeline.console.app import create_app
from pipeline.console.desk import Desk
from pipeline.operations_users import Role, add_user
from pipeline.passwords import Passwords
from pipeline.settings import Settings
from pipeline.store import users
from pipeline.store.engine import Store, Transaction, open_store
from pipeline.vault import KeyRing
from tests.contract.store_subjects import HandClock, create_tables

AGENT, OTHER_AGENT = "xcslw", "other"
PASSWORD = "an invented pass phrase"
HOST = "console.test"
SYSTEM = "human:setup"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a good one takes a tenth of a second
EMPTY = Depths({queue.name: 0 for queue in TOPOLOGY.queues})
_DIGEST = CHEAP.hash(PASSWORD)
# name -> role, agent
PEOPLE: dict[str, tuple[Role, str | None]] = {
    "alice": (Role.SUPERVISOR, None),
    "bob": (Role.OPERATOR, None),
    "carol": (Role.AGENT, AGENT),
    "dave": (Role.AGENT, OTHER_AGENT),
}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")  # a workbook is no text

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)

    @property
    def goes_to(self) -> str:
        """Where a 303 sends the browser."""
        assert self.status == 303, (self.status, self.text)
        return self.header("location") or ""


@dataclass
class Browser:
    """Keeps cookies, follows nothing by itself, fills in the CSRF token of its session unless told otherwise."""

    app: ASGIApp
    address: str = "192.0.2.1"
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        answer = self._send("GET", path, b"", headers)
        token = re.search(r'name="csrf" value="([^"]*)"', answer.text if answer.body[:1] == b"<" else "")
        if token:
            self.csrf = token[1]
        return answer

    def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> Answer:
        body = urlencode({"csrf": self.csrf, **(form or {})}, doseq=True).encode()
        return self._send("POST", path, body, {"content-type": "application/x-www-form-urlencoded", **headers})

    def send_json(self, method: str, path: str, content: Any = None, **headers: str) -> Answer:
        body = b"" if content is None else json.dumps(content).encode()
        return self._send(method, path, body, {"content-type": "application/json", **headers})

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        parts = urlsplit(path)
        sent = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "server": (HOST, 80),
            "client": (self.address, 0),
            "root_path": "",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": quote(parts.query, safe="=&%+/:,-_").encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        answer = asyncio.run(_call(self.app, scope, body))
        for name, value in answer.headers:
            if name == "set-cookie":
                self._keep(value)
        return answer

    def _keep(self, header: str) -> None:
        for name, morsel in SimpleCookie(header).items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


async def _call(app: ASGIApp, scope: dict[str, Any], body: bytes) -> Answer:
    received, sent = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive() -> dict[str, Any]:
        return received.pop() if received else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await app(scope, receive, send)
    except Exception:
        # Starlette answers 500 and raises on, for the server's log; a test asserts on the answer.
        if not sent:
            raise
    head = [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class House:
    """A console with its people; `clock` moves the database's time (SQLite)."""

    desk: Desk
    app: ASGIApp
    clock: HandClock
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.desk.store

    def browser(self, **differently: Any) -> Browser:
        return Browser(self.app, **differently)

    def signed_in(self, name: str, **differently: Any) -> Browser:
        """A browser in which this person of PEOPLE is signed in, without the forms."""
        browser = self.browser(**differently)
        browser.cookies["daifu_session"] = self.session(name)
        browser.get("/account")
        return browser

    def session(self, name: str, address: str = "192.0.2.1") -> str:
        """The cookie of a session of this person, every step of the sign-in done."""
        sign_in = self.desk.sign_in
        session = sign_in.by_link(name, address)
        if session.stage != "full":
            session = sign_in.by_code(session, self.code(name, sealed=session.enrol_sealed), address)
        return session.token.reveal()

    def code(self, name: str, *, sealed: str | None = None) -> str:
        """What the person's authenticator shows, each time the next one: a code counts once."""
        if sealed is not None:
            self.secrets[name] = self.desk.service_keys.open(sealed).reveal()
        self.clock.move(30)
        return pyotp.TOTP(self.secrets[name]).at(self.clock.now())

    def write(self, work: Any) -> Any:
        return self.store.write(work).value

    def read(self, work: Any) -> Any:
        return self.store.read(work)


@contextmanager
def console_at(
    url: str,
    home: Path,
    *,
    people: bool = True,
    clock: HandClock | None = None,
    depths: Depths = EMPTY,
    **settings: Any,
) -> Iterator[House]:
    """A console at a fresh database, with two agents and PEOPLE, or without anybody."""
    clock = clock or HandClock()
    store = open_store(url, clock, patience_s=0.0, pool_size=4)
    try:
        create_tables(store.engine)
        keys, vault = KeyRing.generate(), KeyRing.generate()
        given = {"home": home, "railway_url": "http://127.0.0.1:1", "cashier_url": "http://127.0.0.1:1"} | settings
        desk = Desk(store, Settings.model_validate(given), keys, vault.public, lambda: depths)
        desk.sign_in.passwords = Passwords(CHEAP)
        if people:
            store.write(lambda tx: settle_in(tx, keys))
        yield House(desk, create_app(desk), clock)
    finally:
        store.close()


def settle_in(tx: Transaction, keys: KeyRing) -> None:
    for code in (AGENT, OTHER_AGENT):
        operations.add_agent(tx, code, f"https://{code}.example/told", None, keys.public, SYSTEM, allow_http=False)
    for name, (role, agent) in PEOPLE.items():
        add_user(tx, name, role, agent, _DIGEST, SYSTEM)
    assert users.is_any(tx)


__all__ = ["AGENT", "HOST", "OTHER_AGENT", "PASSWORD", "PEOPLE", "Answer", "Browser", "House", "console_at"]
