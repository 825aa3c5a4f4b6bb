"""Starts `daifu` processes in a twentieth of the time: it has imported everything and forks.

    python -m tests.chaos.kill_nursery

One JSON line in, `{plan, arguments, env, err}`; one out, `{pid}`; and `{pid, status}` when that process has ended (as
`subprocess` counts: -9 after SIGKILL). `plan` null: the product plainly, without a wrapper. No thread runs here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cli import main
from tests.chaos.kill_process import Plan, live

_alive: set[int] = set()


def _reap(*_signal: object) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _alive.discard(pid)
        _say({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _say(what: dict[str, Any]) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def _be(order: dict[str, Any]) -> None:
    """In the child: become that process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    errors = os.open(order["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(errors, 2)
    os.environ.clear()
    os.environ.update(order["env"])
    code = 1
    try:
        if order["plan"] is None:
            main(order["arguments"])
        else:
            live(Plan(**order["plan"]), order["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - it ends here, and says why
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            _be(order)
        _alive.add(pid)
        _say({"pid": pid})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in _alive:  # whoever asked for them is gone
        os.kill(pid, signal.SIGKILL)


class Nursery:
    """The parent's side. `start` returns the pid; `ended` its status once it has one."""

    def __init__(self, folder: Path) -> None:
        self._errors = (folder / "nursery.err").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.kill_nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._started: list[int] = []
        self._statuses: dict[int, int] = {}
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            said = json.loads(line)
            with self._news:
                if "status" in said:
                    self._statuses[said["pid"]] = said["status"]
                else:
                    self._started.append(said["pid"])
                self._news.notify_all()

    def start(self, arguments: list[str], env: Mapping[str, str], err: Path, plan: Mapping[str, Any] | None) -> int:
        order = {"plan": plan, "arguments": arguments, "env": dict(env), "err": str(err)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        with self._news:
            assert self._news.wait_for(lambda: self._started, 120), "the nursery does not answer"
            return self._started.pop()

    def ended(self, pid: int) -> int | None:
        with self._news:
            return self._statuses.get(pid)

    def wait(self, pid: int, within_s: float) -> int | None:
        with self._news:
            self._news.wait_for(lambda: pid in self._statuses, within_s)
            return self._statuses.get(pid)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._reader.join(5)
        self._errors.close()


if __name__ == "__main__":
    serve()
