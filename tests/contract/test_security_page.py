"""deploy/docs/security.md says what is so: every requirement once, every test where it is said to be, every route and module."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from pipeline.console import app as console
from pipeline.console.visit import may_of
from tests.contract.test_tidy import PRODUCT, ROOT, sources

PAGE = ROOT / "deploy" / "docs" / "security.md"
TEXT = PAGE.read_text("utf-8")

# OWASP ASVS 5.0.0: for each section the level of each of its requirements, in their order.
LEVELS = {
    "1.1": "22", "1.2": "1111122223", "1.3": "112222222223", "1.4": "222", "1.5": "123",
    "2.1": "122", "2.2": "112", "2.3": "12223", "2.4": "23",
    "3.1": "3", "3.2": "113", "3.3": "12223", "3.4": "11222233", "3.5": "11122333", "3.6": "3", "3.7": "22333",
    "4.1": "12233", "4.2": "23333", "4.3": "22", "4.4": "1222",
    "5.1": "2", "5.2": "112333", "5.3": "113", "5.4": "222",
    "6.1": "122", "6.2": "111111112222", "6.3": "11223333", "6.4": "112233", "6.5": "22222333", "6.6": "2223", "6.7": "33", "6.8": "2222",
    "7.1": "222", "7.2": "1111", "7.3": "22", "7.4": "11222", "7.5": "223", "7.6": "22",
    "8.1": "1233", "8.2": "1123", "8.3": "133", "8.4": "23",
    "9.1": "111", "9.2": "1222",
    "10.1": "22", "10.2": "223", "10.3": "22223", "10.4": "1111122222233333", "10.5": "22222", "10.6": "22", "10.7": "222",
    "11.1": "2233", "11.2": "22233", "11.3": "11233", "11.4": "1222", "11.5": "23", "11.6": "23", "11.7": "33",
    "12.1": "12233", "12.2": "11", "12.3": "22223",
    "13.1": "2333", "13.2": "222223", "13.3": "2233", "13.4": "1222233",
    "14.1": "22", "14.2": "12223333", "14.3": "122",
    "15.1": "12233", "15.2": "12233", "15.3": "1222222", "15.4": "3333",
    "16.1": "2", "16.2": "22222", "16.3": "2222", "16.4": "222", "16.5": "2223",
    "17.1": "23", "17.2": "22223333", "17.3": "22",
}  # fmt: skip
ALL = {f"{section}.{place}": int(level) for section, levels in LEVELS.items() for place, level in enumerate(levels, 1)}
# Of level 3: those that bind whoever moves other people's money.
TAKEN_ON = {"2.3.5", "4.1.5", "6.3.8", "7.5.3", "8.3.2", "11.3.4", "13.3.4", "14.2.6", "14.2.7", "15.4.2", "16.5.4"}

ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| (\d) \| (.+?) \| (.+) \|$", re.MULTILINE)
NODE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
NOT_MET = "not met: "
ROWS = ROW.findall(TEXT)
CRYPTOGRAPHY = re.compile(r"(hashlib|hmac|nacl|argon2|pyotp|secrets|ssl)(\.|$)")


def within(name: str) -> str:
    """What stands between `<!-- name -->` and its end."""
    found = re.search(rf"<!-- {name} -->(.*?)<!-- /{name} -->", TEXT, re.DOTALL)
    assert found is not None, name
    return found[1].strip()


def excluded() -> list[str]:
    part = TEXT.partition("### What does not apply")[2].partition("\n## ")[0]
    return re.findall(
        r"\d+\.\d+\.\d+", "\n".join(line.split("|")[1] for line in part.splitlines() if line.count("|") == 3)
    )


@cache
def names_in(file: str) -> frozenset[str]:
    """Names that pytest collects from a file: functions of the module, which is all that we write."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_numbers_are_those_of_asvs_5() -> None:
    assert [sum(level == wanted for level in ALL.values()) for wanted in (1, 2, 3)] == [70, 183, 92]


def test_every_requirement_stands_there_once_with_its_level() -> None:
    named = [req for req, *_ in ROWS] + excluded()
    assert sorted(name for name in named if named.count(name) > 1) == []
    wanted = {req for req, level in ALL.items() if level < 3} | TAKEN_ON
    assert sorted(wanted - set(named)) == []
    assert sorted(set(named) - set(ALL)) == []
    assert [(req, level) for req, level, *_ in ROWS if ALL[req] != int(level)] == []


def test_every_requirement_has_a_test_a_document_or_a_reason() -> None:
    bare = []
    for req, _, _, shown in ROWS:
        reason = shown.startswith(NOT_MET) and len(shown.removeprefix(NOT_MET).split()) >= 3
        if not (NODE.search(shown) or LINK.search(shown) or reason):
            bare.append(req)
    assert bare == []


def test_every_test_is_where_it_is_said_to_be() -> None:
    """Whole functions, by the name that pytest collects them under; all their parameters are meant."""
    named = re.findall(r"`(tests/[^`]*::[^`]*)`", TEXT)
    assert len(named) > 150
    wrong = []
    for node in named:
        found = NODE.fullmatch(f"`{node}`")
        if found is None or not (ROOT / found[1]).exists() or found[2] not in names_in(found[1]):
            wrong.append(node)
    assert wrong == []


@pytest.mark.parametrize("page", ["security.md", "threat-model.md", "console.md"])
def test_every_link_leads_to_a_heading_that_is_there(page: str) -> None:
    path = PAGE.with_name(page)
    broken = []
    for target in LINK.findall(path.read_text("utf-8")):
        file, _, anchor = target.partition("#")
        to = (path.parent / file).resolve() if file else path
        if not to.exists() or (anchor and anchor not in anchors(to.read_text("utf-8"))):
            broken.append(target)
    assert broken == []


def test_the_sums_are_those_of_the_rows() -> None:
    shown = [shown for *_, shown in ROWS]
    failed = sum(text.startswith(NOT_MET) for text in shown)
    by_test = sum(bool(NODE.search(text)) for text in shown if not text.startswith(NOT_MET))
    said = f"{len(ROWS)} requirements: {by_test} shown by a test, {len(ROWS) - by_test - failed} by a document, {failed} not met or not wholly."
    assert within("sums") == f"{said} {len(excluded())} do not apply."


def rights() -> str:
    """The table of who may use which route of the console."""
    groups: dict[str, list[str]] = {}
    for route in console.routes():
        may = may_of(route)
        who = ", ".join(sorted(may.roles)) or "anybody"
        key = f"{who}, proven" if may.proven else who
        groups.setdefault(key, []).extend(f"{method} {route.path}" for method in sorted(route.methods or ()))
    rows = [
        f"| {who} | {' · '.join(f'`{one}`' for one in sorted(groups[who], key=_by_path))} |" for who in sorted(groups)
    ]
    return "\n".join(["| who | routes |", "|---|---|", *rows])


def _by_path(route: str) -> tuple[str, str]:
    method, _, path = route.partition(" ")
    return path, method


def test_the_rights_are_those_of_the_routes() -> None:
    assert within("rights") == rights(), f"look at who may do what now, and put this in its place:\n{rights()}"


def test_the_inventory_names_every_module_that_uses_cryptography() -> None:
    part = TEXT.partition("## Keys and algorithms")[2].partition("\n## ")[0]
    named = set(re.findall(r"`((?:schemas|pipeline|consumers|producers)[\w.]*)`", part))
    used = {one.module for one in sources(*PRODUCT) if any(CRYPTOGRAPHY.match(name) for _, name in one.imports())}
    assert sorted(used - named) == [], "these are not in the inventory"
    assert sorted(named - used) == [], "these use none"


def test_the_readme_says_how_to_report() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    part = readme.partition("\n## Security\n")[2].partition("\n## ")[0]
    assert "deploy/docs/security.md" in part
    assert "deploy/docs/threat-model.md" in part
    assert Path(ROOT / "deploy/docs/threat-model.md").exists()
