"""How far a corpus reaches: `python -m tests.fuzz.lines PARSER FOLDER` prints the lines of the parser's modules that its inputs ran."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from tests.fuzz.every import PARSERS


def reached(name: str, corpus: Path) -> dict[str, int]:
    """`lines` of the functions of the parser's modules, and how many of them were `run`."""
    parser = PARSERS[name]
    modules = [module for one in parser.modules for module in within(importlib.import_module(one))]
    wanted = {(str(module.__file__), line) for module in modules for line in lines_of(module)}
    files = {str(module.__file__) for module in modules}
    run: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            run.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    with parser.opened() as take:
        sys.settrace(trace)
        threading.settrace(trace)
        for path in sorted(corpus.iterdir()):
            with suppress(Exception):  # what it does wrong was reported by the trial itself
                take(path.read_bytes())
        sys.settrace(None)
    return {"run": len(run & wanted), "lines": len(wanted)}


def within(module: ModuleType) -> list[ModuleType]:
    """The module, or those that are loaded of a package."""
    return [
        one for name, one in sys.modules.items() if name == module.__name__ or name.startswith(f"{module.__name__}.")
    ]


def lines_of(module: ModuleType) -> set[int]:
    """Of its functions: what runs at import is no parser's."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    found: set[int] = set()
    todo = [compile(source, str(module.__file__), "exec")]
    while todo:
        code = todo.pop()
        inner = [const for const in code.co_consts if isinstance(const, CodeType)]
        todo += inner
        if code.co_flags & 0x02:  # CO_NEWLOCALS: a function's
            found |= {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}
    return found


if __name__ == "__main__":
    print(json.dumps(reached(sys.argv[1], Path(sys.argv[2]))))
