"""The house rules: who may import what, how long things get, and which spellings stay out. One failure names every place."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("schemas", "pipeline", "consumers", "producers")
COMPOSITION_ROOT = "pipeline.cli"
MIGRATIONS = "pipeline.store.migrations.versions"
STAGES = ("intake", "credentials", "payment", "settlement", "notification")

# The core: money, states, rules. What it knows of the world comes in as an argument.
CORE = frozenset(
    f"pipeline.{noun}"
    for noun in ("errors", "ledger", "matching", "ports", "proof", "reasons", "requests", "retry", "states")
)
REACHES_OUTSIDE = re.compile(
    "asyncio|ftplib|http|io|logging|multiprocessing|os|pathlib|queue|random|secrets|select|selectors|shutil|signal|smtplib|"
    "socket|socketserver|sqlite3|ssl|subprocess|sys|tempfile|threading|time|urllib"
)
# Who may use a library; everybody else asks the package named here.
OWNERS = {
    **dict.fromkeys(("sqlalchemy", "alembic", "psycopg", "sqlite3", "aiosqlite"), "pipeline.store"),
    **dict.fromkeys(("kombu", "amqp", "vine"), "pipeline.broker"),
    "pika": "producers.sdk",
}
# What each package may import of ours.
ARROWS = {
    "schemas": ("schemas",),
    "pipeline": ("schemas", "pipeline"),
    "consumers": ("schemas", "pipeline", "consumers"),
    "producers": ("schemas", "pipeline", "producers"),
}

LONGEST_FILE = 300
LONGEST_FUNCTION = 70
LONG_FILE = re.compile(r"^# long: \S", re.MULTILINE)
LONG_FUNCTION = re.compile(r"^\s+# long: \S", re.MULTILINE)

# Written in two halves where this file would otherwise find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
NOT_RUN = re.compile(r"pytest\.(sk" r"ip|xf" r"ail|importor" r"skip|mark\.(sk" r"ip|xf" r"ail))")

# The sandbox's behaviours but for those that are reason codes or everyday words: nobody else may know of them.
BEHAVIOURS = re.compile(
    r"\b(busy_then_ok|session_taken_over|unpaid_list_empty_at_first|timeout_paid|reset_after_pay|error_paid|late_pay|"
    r"price_changed|passenger_mismatch|reset_before_read|timeout_unpaid|error_unpaid|redirect_307|paid_not_issued|"
    r"takes_other_amount|mute_after_pay|paid_then_refunded|agent_pays_after_look)\b"
)
KNOWS_BEHAVIOURS = ("pipeline.railway.sandbox", "pipeline.demo", "pipeline.cli.samples")


@dataclass(frozen=True)
class Source:
    """One Python file of the repository, read, parsed and walked once for all rules."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, str(self.path))))

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """Every call with the dotted spelling of what is called."""
        return [(node, ast.unparse(node.func)) for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def module(self) -> str:
        parts = list(self.path.relative_to(ROOT).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def top(self) -> str:
        return self.module.split(".", maxsplit=1)[0]

    def at(self, line: int, what: str) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}: {what}"

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of every import; `from a import b` gives `a.b`, which is a module or a name in one."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = node.module or ""
                if node.level:
                    package = self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]
                    above = package.split(".")[: len(package.split(".")) - node.level + 1]
                    origin = ".".join([*above, origin]).rstrip(".")
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


@cache
def sources_below(top: str) -> list[Source]:
    found = [Source(path) for path in sorted((ROOT / top).rglob("*.py"))]
    return [source for source in found if not within(source.module, MIGRATIONS)]


def sources(*tops: str) -> Iterator[Source]:
    return (source for top in tops for source in sources_below(top))


@pytest.fixture(scope="module", autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    """Seven hundred thousand nodes would be in every later test's way."""
    yield
    sources_below.cache_clear()


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def nowhere(found: list[str], advice: str = "") -> None:
    """Fails naming every place."""
    assert not found, "\n".join([advice, *found])


def forbidden_imports(tops: tuple[str, ...], wrong: Callable[[Source, str], bool]) -> list[str]:
    """Places whose import `wrong` finds wrong; the composition root may import everything."""
    return [
        source.at(line, f"imports {name}")
        for source in sources(*tops)
        if not within(source.module, COMPOSITION_ROOT)
        for line, name in source.imports()
        if wrong(source, name)
    ]


def test_every_import_follows_an_arrow() -> None:
    ours = {*PRODUCT, "tests", "deploy"}

    def wrong(source: Source, name: str) -> bool:
        top = name.split(".")[0]
        return (top in ours and top not in ARROWS[source.top]) or within(name, COMPOSITION_ROOT)

    nowhere(forbidden_imports(PRODUCT, wrong))


def test_nothing_in_the_product_imports_tests() -> None:
    roots = [source for source in sources("pipeline") if within(source.module, COMPOSITION_ROOT)]
    found = [
        source.at(line, name) for source in roots for line, name in source.imports() if name.split(".")[0] == "tests"
    ]
    nowhere(found)


def test_schemas_know_pydantic_and_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"pydantic", "pydantic_core", "schemas"}
    nowhere(forbidden_imports(("schemas",), lambda _, name: name.split(".")[0] not in allowed))


def test_the_core_does_no_input_or_output() -> None:
    known = {source.module for source in sources("pipeline")}
    assert known >= CORE, f"the list of core modules names missing ones: {sorted(CORE - known)}"
    pure = {name for name in sys.stdlib_module_names if not REACHES_OUTSIDE.fullmatch(name)}

    def wrong(source: Source, name: str) -> bool:
        if source.module not in CORE:
            return False
        top = name.split(".")[0]
        ours = top == "schemas" or any(within(name, module) for module in CORE)
        return top not in pure and not ours

    nowhere(forbidden_imports(("pipeline",), wrong))


def test_each_library_is_used_by_its_owner_only() -> None:
    def wrong(source: Source, name: str) -> bool:
        owner = OWNERS.get(name.split(".")[0])
        # `producers.sdk` stands for sdk.py and the files beside it that share its name.
        return owner is not None and not source.module.startswith(owner)

    nowhere(forbidden_imports(PRODUCT, wrong))


def stage_of(module: str) -> str:
    """`consumers.payment` and `consumers.payment_calls` are the stage payment; what several stages share is none."""
    name = module.removeprefix("consumers").strip(".").split(".")[0]
    return next((stage for stage in (*STAGES, "dead_letter_desk") if name == stage or name.startswith(f"{stage}_")), "")


def test_a_stage_knows_no_broker_and_no_other_stage() -> None:
    def wrong(source: Source, name: str) -> bool:
        stage = stage_of(source.module)
        if stage not in STAGES:
            return False
        other = stage_of(name) if within(name, "consumers") else stage
        return within(name, "pipeline.broker") or other not in ("", stage)

    nowhere(forbidden_imports(("consumers",), wrong))


def test_files_are_short() -> None:
    too_long = [
        source.at(1, f"{lines} lines, more than {LONGEST_FILE}")
        for source in sources(*PRODUCT, "tests")
        if (lines := source.text.count("\n")) > LONGEST_FILE and not LONG_FILE.search(source.text)
    ]
    nowhere(too_long, "split it, or say why not in a line `# long: reason`")


def test_functions_are_short() -> None:
    too_long = []
    for source in sources(*PRODUCT, "tests"):
        for node in source.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                last = node.end_lineno or node.lineno
                lines = last - node.lineno + 1
                body = source.text.splitlines()[node.lineno - 1 : last] if lines > LONGEST_FUNCTION else []
                if body and not LONG_FUNCTION.search("\n".join(body)):
                    too_long.append(source.at(node.lineno, f"{node.name}: {lines} lines, more than {LONGEST_FUNCTION}"))
    nowhere(too_long, "split it, or say why not in a line `# long: reason`")


def matches(pattern: re.Pattern[str], *tops: str) -> Iterator[tuple[Source, int, str]]:
    for source in sources(*tops):
        for number, line in enumerate(source.text.splitlines(), 1):
            if pattern.search(line):
                yield source, number, line.strip()


def test_nothing_is_left_for_later() -> None:
    nowhere([source.at(number, line) for source, number, line in matches(UNFINISHED, *PRODUCT, "tests")])


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    nowhere([source.at(number, line) for source, number, line in matches(NOT_RUN, "tests")])


def calls(*tops: str) -> Iterator[tuple[Source, ast.Call, str]]:
    """Every call with the dotted spelling of what is called."""
    return ((source, call, name) for source in sources(*tops) for call, name in source.calls)


def test_every_time_has_a_zone() -> None:
    naive = []
    for source, call, name in calls(*PRODUCT, "tests"):
        last = name.rpartition(".")[2]
        bare_now = name.endswith("datetime.now") and not call.args and not call.keywords
        if bare_now or last in ("utcnow", "utcfromtimestamp") or name.endswith("datetime.today"):
            naive.append(source.at(call.lineno, name))
    nowhere(naive)


def test_the_product_neither_sleeps_on_a_thread_nor_prints() -> None:
    found = []
    for source, call, name in calls(*PRODUCT):
        prints = name == "print" and not within(source.module, COMPOSITION_ROOT)
        if prints or name == "time.sleep":
            found.append(source.at(call.lineno, name))
    nowhere(found)


def test_log_events_have_no_values_in_their_names() -> None:
    levels = ("debug", "info", "warning", "warn", "error", "critical", "exception")
    found = []
    for source, call, name in calls(*PRODUCT):
        speaker, _, level = name.rpartition(".")
        spoken_by_a_log = re.search(r"log(ger)?(\(\))?$", speaker.lower())
        if level in levels and spoken_by_a_log and call.args and isinstance(call.args[0], ast.JoinedStr | ast.BinOp):
            found.append(source.at(call.lineno, ast.unparse(call.args[0])))
    nowhere(found)


def test_no_error_is_swallowed() -> None:
    found = []
    for source in sources(*PRODUCT, "tests"):
        for node in source.nodes:
            if not isinstance(node, ast.ExceptHandler):
                continue
            everything = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
            if everything and silent:
                found.append(source.at(node.lineno, "an error is swallowed"))
    nowhere(found)


def test_only_the_sandbox_knows_its_behaviours() -> None:
    nowhere(
        [
            source.at(number, line)
            for source, number, line in matches(BEHAVIOURS, *PRODUCT)
            if not any(within(source.module, package) for package in KNOWS_BEHAVIOURS)
        ]
    )
