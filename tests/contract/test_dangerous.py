"""What the product never does: make code of data, start programs, read objects from bytes, roll dice for secrets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.contract.test_tidy import PRODUCT, Source, calls, nowhere, sources, within

# Calls that run, load or expand what they are given.
RUNS_DATA = re.compile(
    r"(builtins\.)?(eval|exec|compile|__import__)|os\.(system|popen|exec\w+|spawn\w+)|importlib\.import_module|"
    r"(pickle|marshal|shelve|dill)\.\w+|yaml\.(load|unsafe_load|full_load)|\w+\.from_string|tempfile\.mktemp|ssl\._create_unverified_context"
)
STARTS = re.compile(r"subprocess\.\w+|asyncio\.create_subprocess_\w+")
# `daifu bench` starts daifu's own processes; the click groups load their commands by a fixed table.
MAY_START = ("pipeline.cli.bench",)
MAY_LOAD = ("pipeline.cli",)
PATTERNS = re.compile(r"re\.(compile|match|search|fullmatch|sub|split|findall|finditer)")
# Names of the broker's own policies are patterns by RabbitMQ's rules: `topology check` asks whether they match a queue.
MAKES_PATTERNS = ("pipeline.broker.compare",)
RANDOM = re.compile(r"random|numpy\.random")
# Jitter of waits, and seeded simulation; nothing that anybody must not guess.
MAY_ROLL = ("pipeline.broker.owner", "pipeline.store.engine", "pipeline.cli.house", "pipeline.cli.simulation")
CERTIFICATES = re.compile(
    r"CERT_NONE|CERT_OPTIONAL|check_hostname\s*=\s*False|verify_ssl|\bssl=False|sslmode=(disable|allow|prefer)"
)


def allowed(source: Source, packages: tuple[str, ...]) -> bool:
    return any(within(source.module, package) for package in packages)


def test_nothing_runs_what_it_was_sent() -> None:
    nowhere(
        [
            source.at(call.lineno, name)
            for source, call, name in calls(*PRODUCT)
            if RUNS_DATA.fullmatch(name) and not allowed(source, MAY_LOAD)
        ]
    )


def test_only_the_bench_starts_programs_and_never_through_a_shell() -> None:
    found = [
        source.at(call.lineno, name)
        for source, call, name in calls(*PRODUCT)
        if (STARTS.fullmatch(name) and not allowed(source, MAY_START))
        or any(keyword.arg == "shell" for keyword in call.keywords)
    ]
    nowhere(found)


def test_no_pattern_is_made_of_data() -> None:
    """A regular expression is written down, in one piece or of pieces that are written down themselves."""
    found = [
        source.at(call.lineno, ast.unparse(call.args[0]))
        for source, call, name in calls(*PRODUCT)
        if PATTERNS.fullmatch(name) and not written_down(call.args[0]) and not allowed(source, MAKES_PATTERNS)
    ]
    nowhere(found)


def written_down(node: ast.expr) -> bool:
    """A literal, constants put together, or a name in capitals."""
    return all(
        isinstance(
            part, ast.Constant | ast.JoinedStr | ast.FormattedValue | ast.BinOp | ast.operator | ast.expr_context
        )
        or (isinstance(part, ast.Name) and part.id.lstrip("_").isupper())
        for part in ast.walk(node)
    )


def imports_of(pattern: re.Pattern[str]) -> Iterator[tuple[Source, int, str]]:
    for source in sources(*PRODUCT):
        for line, name in source.imports():
            if pattern.fullmatch(name.split(".")[0]):
                yield source, line, name


def test_dice_are_for_waits_and_simulations() -> None:
    """Sessions, links, keys and one-time secrets come from `secrets`, libsodium and pyotp, which ask the kernel."""
    nowhere([source.at(line, name) for source, line, name in imports_of(RANDOM) if not allowed(source, MAY_ROLL)])


def test_nobody_stops_checking_certificates() -> None:
    found = [
        source.at(number, line.strip())
        for source in sources(*PRODUCT)
        for number, line in enumerate(source.text.splitlines(), 1)
        if CERTIFICATES.search(line)
    ]
    nowhere(found)
