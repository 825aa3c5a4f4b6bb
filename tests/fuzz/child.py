"""One parser under libFuzzer: `python -m tests.fuzz.child PARSER INPUTS SEED FOLDER`, as `python -m tests.fuzz` starts it.

What an input does wrong is kept and counted, and the next one is tried: an input that raises, one that takes more than `HANGS_S`
of CPU time. Only what ends the process (memory above `MEMORY_MB`, a crash of the interpreter) ends the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Final

import atheris

OURS: Final = ["schemas", "pipeline", "producers", "html.parser", "_markupbase", "h11"]
HANGS_S: Final = 2.0  # of CPU time of this process, so that a busy machine counts for nothing
MEMORY_MB: Final = 1_024
FOUND_MAX: Final = 50  # kinds of defects that are kept

with atheris.instrument_imports(include=OURS):
    from tests.fuzz.every import PARSERS
    from tests.fuzz.parser import Take


class Hangs(BaseException):
    """An input that takes too long; no handler of the parser's may stop it."""


def hangs(_number: int, _frame: FrameType | None) -> None:
    raise Hangs(f"more than {HANGS_S:g} s of CPU time")


class Trial:
    """Takes inputs until there were `inputs`, writes what came of it, and ends the process."""

    def __init__(self, take: Take, inputs: int, folder: Path) -> None:
        self._take, self._inputs, self._folder = take, inputs, folder
        self._taken = 0
        self._found: dict[str, dict[str, str]] = {}

    def one(self, data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_S)
        try:
            self._take(data)
        except (Exception, Hangs) as error:  # noqa: BLE001 - whatever is raised is what is looked for
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            self._keep(data, error)
        self._taken += 1
        if self._taken >= self._inputs:
            self._end()

    def _keep(self, data: bytes, error: BaseException) -> None:
        """The first input of each kind: what was raised, and where."""
        place = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
        ][-3:]
        kind = f"{type(error).__name__} at {' < '.join(reversed(place))}"
        if kind in self._found or len(self._found) >= FOUND_MAX:
            return
        name = f"found-{hashlib.sha256(data).hexdigest()[:16]}"
        (self._folder / name).write_bytes(data)
        self._found[kind] = {"input": name, "words": str(error)[:500]}

    def _end(self) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        memory = resource.getrusage(resource.RUSAGE_SELF)
        report = {
            "inputs": self._taken,
            "found": self._found,
            "memory_mb": memory.ru_maxrss // 1_024,
            "cpu_s": round(memory.ru_utime + memory.ru_stime, 1),
        }
        (self._folder / "report.json").write_text(json.dumps(report))
        sys.stderr.flush()
        os._exit(0)  # libFuzzer has no end of its own that lets Python go on


def main(name: str, inputs: int, seed: int, folder: Path) -> None:
    parser = PARSERS[name]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for content in parser.seeds():
        (corpus / f"seed-{hashlib.sha256(content).hexdigest()[:16]}").write_bytes(content)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in parser.words if len(word) <= 64))
    options = (
        f"-seed={seed}",
        f"-max_len={parser.longest}",
        f"-dict={words}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=86400",  # by the wall's clock; `HANGS_S` is what counts
        f"-artifact_prefix={folder}/",
        "-len_control=20",
        "-print_final_stats=0",
    )
    signal.signal(signal.SIGVTALRM, hangs)
    with parser.opened() as take:
        atheris.Setup([name, *options, str(corpus)], Trial(take, inputs, folder).one)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
