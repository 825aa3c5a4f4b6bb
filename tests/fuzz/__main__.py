"""Coverage-guided fuzzing of what outsiders reach: `python -m tests.fuzz [PARSER…] --inputs N --seed S [--keep FOLDER]`.

N inputs are shared out over the parsers; each runs in a process of its own under Atheris (libFuzzer), one after another. Beginning
with valid inputs that the code makes, whatever reaches new code is mutated further. The last line says how it ended; exit 1 where
an input raised what its parser does not document, took 2 s of CPU time, was answered 5xx, or where memory grew beyond 1 GB.
With --keep, the corpus and what was found stay in FOLDER, and a later run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz.every import PARSERS

_COVERED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz")
    asked.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}; all by default")
    asked.add_argument("--inputs", type=int, default=100_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--keep", type=Path, metavar="FOLDER")
    given = asked.parse_args()
    unknown = [name for name in given.parsers if name not in PARSERS]
    if unknown:
        asked.error(f"no parser {', '.join(unknown)}; there are {', '.join(PARSERS)}")
    if find_spec("atheris") is None:
        asked.error(
            "atheris is not installed here: it comes for Linux on x86-64 and Python 3.11 to 3.13 (pip install -e '.[dev]')"
        )
    names = given.parsers or list(PARSERS)
    whole = sum(PARSERS[name].share for name in names)
    with tempfile.TemporaryDirectory() as scratch:
        kept = given.keep or Path(scratch)
        rows = [
            _run(name, max(1, given.inputs * PARSERS[name].share // whole), given.seed, kept / name) for name in names
        ]
    found = sum(len(row["found"]) for row in rows)
    print(
        json.dumps({"ok": not found, "inputs": sum(row["inputs"] for row in rows), "seed": given.seed, "found": found})
    )
    return 1 if found else 0


def _run(name: str, inputs: int, seed: int, folder: Path) -> dict[str, Any]:
    """One parser's trial, told in one line."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    child = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", name, str(inputs), str(seed), str(folder)],
        stderr=subprocess.PIPE, text=True, errors="replace", check=False,
    )  # fmt: skip
    if not report.exists():
        print(child.stderr[-4_000:], file=sys.stderr)
        return {"inputs": 0, "found": {"the process ended": {}}}
    row: dict[str, Any] = json.loads(report.read_text())
    covered = _COVERED.findall(child.stderr)
    lines = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.lines", name, str(folder / "corpus")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row |= json.loads(lines.stdout.splitlines()[-1])
    edges, corpus = (covered[-1][0], covered[-1][2]) if covered else ("-", "-")
    print(
        f"{name:<20}{row['inputs']:>9} inputs  {edges:>5} edges  {row['run']:>4}/{row['lines']:<4} lines  corpus {corpus:>5}  "
        f"{row['cpu_s']:>7} s  {row['memory_mb']:>4} MB  {len(row['found'])} found",
        flush=True,
    )
    for kind, what in row["found"].items():
        print(f"  {kind}\n    {what['words']}\n    {folder / what['input']}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
