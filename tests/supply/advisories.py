"""Known weaknesses of the locked packages: a committed snapshot that `make check` reads, and how it is asked for anew.

The snapshot has what its date and sources say and no more: a package that it does not name was not looked up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from tests.supply.lock import Locked

SNAPSHOT: Final = Path(__file__).with_name("advisories.json")
HOST: Final = "api.osv.dev"
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Advisory:
    """`affected`: half-open ranges of versions; `fixed` None: there is no version without it yet."""

    package: str
    id: str
    affected: tuple[tuple[str, str | None], ...]

    def touches(self, version: str) -> bool:
        now = Version(version)
        return any(Version(first) <= now and (fixed is None or now < Version(fixed)) for first, fixed in self.affected)


def load(path: Path = SNAPSHOT) -> list[Advisory]:
    """The snapshot's advisories. Raises ValueError, KeyError for a file of another form."""
    content = json.loads(path.read_text("utf-8"))
    found = [
        Advisory(package, one["id"], tuple((first, fixed) for first, fixed in one["affected"]))
        for package, listed in content["packages"].items()
        for one in listed
    ]
    for one in found:
        one.touches("0")  # a version that nobody can read is an error here, not a silence
    return found


def affected(locked: Iterable[Locked], known: Iterable[Advisory]) -> list[str]:
    """What of the lock an advisory is about."""
    listed = list(known)
    return [
        f"{one.name} {one.version}: {advisory.id}, fixed in {_fixes(advisory)}"
        for one in locked
        for advisory in listed
        if advisory.package == one.name and advisory.touches(one.version)
    ]


def asked_anew(names: Iterable[str], today: str, connection: HTTPSConnection | None = None) -> dict[str, Any]:
    """A new snapshot from the OSV database, one question per package. Raises OSError, ValueError: then nothing is known anew."""
    link = connection or HTTPSConnection(HOST, timeout=TIMEOUT_S)
    packages = {name: [*_asked(link, name)] for name in sorted(names)}
    return {"looked_up": today, "sources": [f"https://{HOST}/v1/query"], "packages": packages}


def _asked(link: HTTPSConnection, name: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        question = {"package": {"name": name, "ecosystem": "PyPI"}} | ({"page_token": token} if token else {})
        link.request("POST", "/v1/query", json.dumps(question), {"Content-Type": "application/json"})
        answer = link.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ValueError(f"{name}: {HOST} answered {answer.status}")
        page = json.loads(body)
        for record in page.get("vulns", ()):
            if "withdrawn" not in record:
                yield _short(record, name)
        token = page.get("next_page_token", "")
        if not token:
            return


def _short(record: dict[str, Any], name: str) -> dict[str, Any]:
    """What we keep of an OSV record (ossf.github.io/osv-schema): ranges of versions; those of commits say nothing of a lock."""
    ranges: list[tuple[str, str | None]] = []
    for part in record.get("affected", ()):
        if part.get("package", {}).get("name", "").lower() != name:
            continue
        named = [
            pair for one in part.get("ranges", ()) if one["type"] == "ECOSYSTEM" for pair in _ranges(one["events"])
        ]
        # A package that somebody planted has its bad versions listed one by one.
        ranges += named or [(text, f"{text}.post0.dev0") for text in part.get("versions", ()) if _readable(text)]
    return {"id": record["id"], "aliases": sorted(record.get("aliases", ())), "affected": ranges}


def _ranges(events: list[dict[str, str]]) -> Iterator[tuple[str, str | None]]:
    first: str | None = None
    for event in events:
        if "introduced" in event:
            first = event["introduced"]
        elif first is not None and "fixed" in event:
            yield first, event["fixed"]
            first = None
    if first is not None:  # no fix, or only the last version known to have it: nothing newer is known to be better
        yield first, None


def _readable(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def _fixes(advisory: Advisory) -> str:
    return ", ".join(fixed or "no version yet" for _, fixed in advisory.affected)
