"""What daifu is built from: locks by hash, known weaknesses, licences, the bill of materials, and a wheel that is the same each time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest

from tests.supply import advisories, licences
from tests.supply.__main__ import problems
from tests.supply.advisories import Advisory
from tests.supply.bom import bill
from tests.supply.lock import LOCKS, ROOT, Locked, differing, read

ONE = Locked("left-pad", "1.4", ("0" * 64,), ("daifu",))


def test_everything_is_in_order() -> None:
    assert problems() == []


# -- locks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes_and_somebody_wants_it(name: str) -> None:
    locked = read(LOCKS[name])
    text = LOCKS[name].read_text("utf-8")
    assert len(locked) == sum("==" in line and "#" not in line for line in text.splitlines())
    assert sum(len(one.hashes) for one in locked) == text.count("--hash=sha256:")
    known = {one.name for one in locked} | {"daifu"}
    assert [one.name for one in locked if not one.wanted_by or not known.issuperset(one.wanted_by)] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("left-pad>=1\n", "test.lock:1: neither"),
        ("left-pad==1.4 \\\n    --hash=md5:00\n", "test.lock:2: neither"),
        ("left-pad==1.4 \\\n    # via daifu\n", "without a hash: left-pad"),
        ("left-pad @ https://example.com/x.whl\n", "test.lock:1: neither"),
        ("--extra-index-url https://example.com\n", "test.lock:1: neither"),
    ],
)
def test_a_lock_that_lets_in_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "test.lock"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=said):
        read(path)


def test_the_tests_run_on_the_files_that_are_shipped() -> None:
    other = Locked(ONE.name, "1.5", ONE.hashes, ONE.wanted_by)
    refilled = Locked(ONE.name, ONE.version, ("1" * 64,), ONE.wanted_by)
    assert differing([ONE], [ONE]) == []
    assert [len(differing([ONE], tests)) for tests in ([], [other], [refilled])] == [1, 1, 1]


# -- known weaknesses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "touched"),
    [
        ([("0", "1.4")], False),
        ([("0", "1.4.1")], True),
        ([("1.4", None)], True),
        ([("1.5", "1.6")], False),
        ([("0", "1.0"), ("1.3", "1.10")], True),
    ],
)
def test_a_locked_version_within_an_advisory_is_named(ranges: list[tuple[str, str | None]], *, touched: bool) -> None:
    known = [Advisory(ONE.name, "X-1", tuple(ranges)), Advisory("other", "X-2", (("0", None),))]
    found = advisories.affected([ONE], known)
    assert [text.startswith("left-pad 1.4: X-1") for text in found] == [True] * touched


def test_the_snapshot_would_have_named_older_locks() -> None:
    """Of each package that it knows: the version before a fix is named, the one that is locked is not."""
    known, locked = advisories.load(), {one.name: one for one in read(LOCKS["tests"])}
    assert {one.package for one in known} <= set(locked)
    assert all(advisories.affected([Locked(one.package, one.affected[0][0], (), ())], [one]) for one in known)


class Database(BaseHTTPRequestHandler):
    """Answers as the OSV database does: records with ranges, in pages."""

    pages: dict[tuple[str, str], dict[str, Any]]  # by package and page token

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        page = self.pages.get((asked["package"]["name"], asked.get("page_token", "")))
        body = json.dumps(page or {}).encode()
        self.send_response(200 if page is not None else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing on stderr."""


@pytest.fixture
def database() -> Iterator[HTTPSConnection]:
    """A connection to it; without TLS, which is the library's own and not under test."""
    with HTTPServer(("127.0.0.1", 0), Database) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield cast(HTTPSConnection, HTTPConnection("127.0.0.1", server.server_port, timeout=30))
        server.shutdown()
        thread.join()


def record(ident: str, package: str = "left-pad", **part: Any) -> dict[str, Any]:
    return {"id": ident, "affected": [{"package": {"name": package, "ecosystem": "PyPI"}, **part}]}


def events(*pairs: dict[str, str], kind: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    return [{"type": kind, "events": list(pairs)}]


def test_the_snapshot_is_asked_for_anew(database: HTTPSConnection, tmp_path: Path) -> None:
    fixed = record("A", ranges=events({"introduced": "0"}, {"fixed": "1.4"}, {"introduced": "1.5"}, {"fixed": "1.6"}))
    last = record("B", ranges=events({"introduced": "1.0"}, {"last_affected": "1.4"}))
    commits = events({"introduced": "0"}, {"fixed": "abcdef"}, kind="GIT")
    planted = record("MAL-1", ranges=commits, versions=["1.4", "no version"])
    another = record("C", package="right-pad", ranges=events({"introduced": "0"}))
    Database.pages = {
        ("left-pad", ""): {"vulns": [fixed, last | {"aliases": ["CVE-1"]}], "next_page_token": "2"},
        ("left-pad", "2"): {"vulns": [planted, another, record("D", versions=["1.4"]) | {"withdrawn": "2026"}]},
        ("up-pad", ""): {},
    }
    snapshot = advisories.asked_anew(["up-pad", "left-pad"], "2026-11-28", database)
    path = tmp_path / "advisories.json"
    path.write_text(json.dumps(snapshot), "utf-8")
    known = {one.id: one for one in advisories.load(path)}
    assert set(known) == {"A", "B", "MAL-1", "C"}
    assert snapshot["packages"]["up-pad"] == []
    assert snapshot["packages"]["left-pad"][1]["aliases"] == ["CVE-1"]
    touched = {ident: known[ident].touches("1.4") for ident in known}
    assert touched == {"A": False, "B": True, "MAL-1": True, "C": False}
    assert not known["MAL-1"].touches("1.4.1")


def test_a_database_that_fails_leaves_the_snapshot_as_it_is(database: HTTPSConnection) -> None:
    Database.pages = {}
    with pytest.raises(ValueError, match=r"left-pad: .+ answered 500"):
        advisories.asked_anew(["left-pad"], "2026-11-28", database)


# -- licences ---------------------------------------------------------------------------------------------------


def test_a_licence_that_we_do_not_take_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"a": "MIT", "b": "AGPL-3.0-only", "c": "MIT OR GPL-2.0-only", "d": "Apache-2.0 AND BSD-2-Clause"}
    monkeypatch.setattr(licences, "licence_of", said.__getitem__)
    found = licences.not_allowed(Locked(name, "1", (), ()) for name in said)
    assert [text[0] for text in found] == ["b", "c"]


def test_a_package_that_does_not_say_its_licence_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "metadata", lambda _name: Message())
    with pytest.raises(ValueError, match="no licence is understood"):
        licences.licence_of("says-nothing")


# -- bill of materials, wheel -----------------------------------------------------------------------------------


def test_the_bill_of_materials_names_all_that_is_shipped_and_is_the_same_each_time() -> None:
    text = bill()  # checked against CycloneDX's schema as it is made
    content, product = json.loads(text), read(LOCKS["product"])
    assert [one["purl"] for one in content["components"]] == [f"pkg:pypi/{one.name}@{one.version}" for one in product]
    hashes = {one["name"]: len(one["externalReferences"][0]["hashes"]) for one in content["components"]}
    assert hashes == {one.name: len(set(one.hashes)) for one in product}
    (ours,) = [one["dependsOn"] for one in content["dependencies"] if one["ref"] == "daifu"]
    assert len(ours) == sum("daifu" in one.wanted_by for one in product)
    assert bill() == text


def test_the_wheel_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    """Two folders, file times, umasks and orders of creation; the same bytes."""
    digests = []
    for name, umask, moment in (("a", 0o077, 1_000_000_000), ("deeper/b", 0o002, 1_700_000_000)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        before = os.umask(umask)
        try:
            for top in ("schemas", "pipeline", "consumers", "producers"):
                shutil.copytree(
                    ROOT / top,
                    folder / top,
                    ignore=shutil.ignore_patterns("__pycache__"),
                    copy_function=shutil.copyfile,
                )
            for file in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copyfile(ROOT / file, folder / file)
            for path in folder.rglob("*"):
                os.utime(path, (moment, moment))
            environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
            command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        finally:
            os.umask(before)
        (wheel,) = (folder / "dist").glob("*.whl")
        digests.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert digests[0] == digests[1]
