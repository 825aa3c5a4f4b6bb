"""The console's pages and its JSON API: what a signed-in supervisor's browser may send, in paths, queries, forms and bodies."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from pipeline.console.visit import SAFE
from tests.fuzz.parser import CUT, Parser, Take, parts
from tests.unit.console_data import Orders
from tests.unit.console_house import AGENT, HOST, House, console_at
from tests.unit.test_console_guards import ROUTES, Tags, fields_of, is_api, undecodable

_NO_ASCII: Final = re.compile(rb"[^\x21-\x7e]")
FORM: Final = b"application/x-www-form-urlencoded"
KEPT: Final = 1_000  # inputs that meet the same console: what they write would slow the next
ENDS_SESSION: Final = re.compile(r"/logout|/account/.*|/users.*")  # after them nothing but the sign-in would be asked
ASKED: Final = [
    pair
    for pair in ROUTES
    if not (pair[1] not in SAFE and ENDS_SESSION.fullmatch(pair[0].path.removeprefix("/api/v1")))
]


class Site:
    """A console with orders in it, and a supervisor's session."""

    def __init__(self, house: House) -> None:
        self.house = house
        orders = Orders(house.store, AGENT, house.desk.vault_key)
        orders.set_up()
        orders.one_of_each()
        letter = house.write(lambda tx: undecodable(tx, house))
        self.values = {"order_no": orders.made[0], "letter_id": str(letter), "agent": AGENT, "name": "carol"}
        browser = house.signed_in("alice")
        self._cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items()).encode()
        self._csrf = browser.csrf

    async def ask(self, data: bytes) -> tuple[int, bytes, bytes]:
        """Status, content type and body. The first part of an input chooses the route and stands for its path's parameters."""
        place, query, body = parts(data, 3)
        route, method = ASKED[int.from_bytes(place[:2], "big") % len(ASKED)]
        path = self._path(route, place[2:])
        headers = [(b"host", HOST.encode()), (b"cookie", self._cookie), (b"x-csrf-token", self._csrf.encode())]
        if is_api(route):
            headers.append((b"content-type", b"application/json"))
        elif body.startswith(b"--"):
            headers.append((b"content-type", b"multipart/form-data; boundary=x"))
            body = b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n%b\r\n%b' % (self._csrf.encode(), body)
        else:
            headers.append((b"content-type", FORM))
            body = urlencode({"csrf": self._csrf}).encode() + b"&" + body
        # aiohttp lets no byte through in an address that is not ASCII, see test_console_bridge.py.
        path, query = unquote(quote(path.encode("utf-8", "surrogateescape"))), _NO_ASCII.sub(_escaped, query)
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": method,
            "scheme": "http", "server": (HOST, 80), "client": ("192.0.2.1", 0), "root_path": "", "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"), "query_string": query, "headers": headers,
        }  # fmt: skip
        return await answer_to(self.house, scope, body)

    def _path(self, route: APIRoute, given: bytes) -> str:
        text = given.decode("utf-8", "surrogateescape")
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: text or self.values.get(found[1], "1"), route.path)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


async def answer_to(house: House, scope: dict[str, Any], body: bytes) -> tuple[int, bytes, bytes]:
    received, sent = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive() -> dict[str, Any]:
        return received.pop() if received else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await house.app(scope, receive, send)
    kind = next((value for name, value in sent[0]["headers"] if name.lower() == b"content-type"), b"")
    return sent[0]["status"], kind, b"".join(message.get("body", b"") for message in sent[1:])


@contextmanager
def console() -> Iterator[Take]:
    """No answer is a 5xx, none runs what was sent, and no route raises."""
    with asyncio.Runner() as runner, capture_logs() as logged, ExitStack() as stack:
        opened: list[Site] = []
        asked = 0

        def take(data: bytes) -> None:
            nonlocal asked
            if asked % KEPT == 0:
                stack.close()
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                opened[:] = [Site(stack.enter_context(console_at(f"sqlite:///{folder / 'console.sqlite3'}", folder)))]
            asked += 1
            status, kind, body = runner.run(opened[0].ask(data))
            assert status < 500, (status, body[:200])
            assert not [line for line in logged if line["log_level"] == "error"], logged
            logged.clear()
            if kind.startswith(b"text/html"):
                assert not Tags(body.decode()).wrong

        yield take


def console_seeds() -> list[bytes]:
    """Every route as its own pages ask it, in words that are not what it wants."""
    found = []
    for number, (route, _) in enumerate(ASKED):
        queries, bodies = fields_of(route)
        query = urlencode(dict.fromkeys(queries, "1")).encode()
        body = (
            json.dumps(dict.fromkeys(bodies, "1")).encode()
            if is_api(route)
            else urlencode(dict.fromkeys(bodies, "1")).encode()
        )
        found.append(CUT.join((number.to_bytes(2, "big"), query, body)))
    return found


_WORDS = (
    CUT, b"%00", b"%ff", b"%F0%9F%98%80", b"\\u0000", b'"\\ud800"', b"<script>", b"'\"><b>", b"9" * 30, b"-1", b"null", b"[[[[", b"1e999",
    b"2014-11-17", b"0001-01-01", b"9999-12-31", b"page=", b"&after=", b"\xef\xbc\x91", b"--x\r\nContent-Disposition: form-data",
    b"agent", b"human:alice", b"paid", b"all", b"true", b"..%2f",
)  # fmt: skip

PARSERS = (Parser("console", console, console_seeds, _WORDS, ("pipeline.console",), 5),)
