"""What a secret looks like wherever it may have been written, and the places of a running pipeline in which to look for it."""

from __future__ import annotations

import base64
import html
import http.client
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import psycopg
import pyotp
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.unit.console_house import Answer, Browser

#: In every canary that can hold them: each is written differently in JSON, in an address, in a form, in HTML, in Python's repr.
ODD: Final = 'ü"\\&+ <'


def canary(name: str, odd: str = ODD) -> str:
    """Invented, and found nowhere by chance."""
    return f"canary-{name}-{secrets.token_hex(8)}{odd}."


def spellings(secret: str | bytes) -> set[bytes]:
    """The secret in every form in which it could lie around."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), *_in_base64(raw)}
    if isinstance(secret, str):
        written = {
            json.dumps(secret)[1:-1],
            json.dumps(json.dumps(secret))[3:-3],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            quote(secret, safe=""),
            quote(secret),
            quote_plus(secret),
            html.escape(secret),
            repr(secret)[1:-1],
            repr(raw)[2:-1],
        }
        found |= {each.encode() for each in written}
    return found


def _in_base64(raw: bytes) -> Iterator[bytes]:
    """As it stands inside a longer text in base64, at each of the three places it may begin; both alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        inside = encoded[-(-8 * before // 6) :]  # from the first character that holds nothing of what is before
        kept = inside[: (8 * (before + len(raw))) // 6 - -(-8 * before // 6)]
        yield kept
        yield kept.replace(b"+", b"-").replace(b"/", b"_")


def places_of(secret: str | bytes, places: Mapping[str, bytes]) -> list[str]:
    """Where it is found, in whatever form."""
    forms = spellings(secret)
    return [place for place, content in places.items() if any(form in content for form in forms)]


def tables(url: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table as text, by table."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))).fetchall()
            yield f"table {name}", "\n".join(str(row[0]) for row in rows).encode()


@dataclass
class Visitor(Browser):
    """A person's browser at a served console."""

    app: Any = None
    place: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.place, timeout=30)
        sent = dict(headers)
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, path, body or None, sent)
            response = connection.getresponse()
            answer = Answer(
                response.status, [(name.lower(), value) for name, value in response.getheaders()], response.read()
            )
        finally:
            connection.close()
        for name, value in answer.headers:
            if name == "set-cookie":
                self._keep(value)
        return answer

    def sign_in(self, name: str, password: str) -> str:
        """With a device enrolled on the way; returns its secret."""
        self.get("/login")
        assert self.post("/login", {"name": name, "password": password}).status == 303
        page = self.get("/login").text
        found = re.search(r"<code>([A-Z2-7 ]+)</code>", page)
        assert found is not None, page
        device = found[1].replace(" ", "")
        assert self.post("/login/code", {"code": pyotp.TOTP(device).now()}).status == 303
        return device

    def read(self, *paths: str) -> None:
        """Keep these pages."""
        for path in paths:
            answer = self.get(path)
            assert answer.status == 200, (path, answer.status)
            self.pages[f"page {path}"] = answer.body


def command_lines(pids: Mapping[str, int]) -> dict[str, bytes]:
    return {f"command line of {name}": Path(f"/proc/{pid}/cmdline").read_bytes() for name, pid in pids.items()}


def core_limits(pids: Mapping[str, int]) -> dict[str, list[str]]:
    """Soft and hard limit of a core file's size, by process."""
    found = {}
    for name, pid in pids.items():
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        found[name] = next(line for line in lines if line.startswith("Max core file size")).split()[4:6]
    return found
