"""One real `daifu …` process: started, watched, frozen, killed and ended by its own id."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tests.services.ports import LOOPBACK

DAIFU: Final = Path(sys.executable).with_name("daifu")
# Without what keeps it out of others' sight, for who counts its files and connections in /proc.
IN_SIGHT: Final = "from pipeline import cli; cli.keep_memory_private = lambda: None; cli.main()"
START_S = 120.0  # seven processes start on two cores that other tests share
END_S = 20.0
LOOK_S = 0.1


class Ran(NamedTuple):
    """What a command that ended left behind."""

    code: int
    stdout: str
    stderr: str


def until(what: str, true: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Look again and again; returns the first true thing. Raises AssertionError naming what never came."""
    end = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not after {within_s:.0f} s: {what}")
        time.sleep(LOOK_S)


def request(url: str, method: str = "GET", body: object = None, headers: Mapping[str, str] | None = None) -> Any:
    """(status, decoded JSON or text). Raises OSError where nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or LOOPBACK, parts.port or 80, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        connection.request(method, target, data, dict(headers or {}))
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    is_json = "json" in (answer.getheader("Content-Type") or "")
    return answer.status, json.loads(text) if is_json else text


class Process:
    """One `daifu …` of its own, stdout and stderr in files."""

    def __init__(
        self, folder: Path, name: str, arguments: list[str], env: Mapping[str, str], *, in_sight: bool = False
    ) -> None:
        self.name = name
        program = [sys.executable, "-c", IN_SIGHT] if in_sight else [str(DAIFU)]
        self.stderr_path, self.stdout_path = folder / f"{name}.err", folder / f"{name}.out"
        with self.stderr_path.open("ab") as errors, self.stdout_path.open("ab") as output:
            self._process = subprocess.Popen(
                [*program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=dict(env)
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def lines(self) -> list[dict[str, Any]]:
        """Its log as far as written."""
        found = []
        for line in self.stderr_path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def events(self) -> list[str]:
        """The names of its log's events, in order."""
        return [str(line.get("event")) for line in self.lines() if isinstance(line, dict)]

    def ready(self) -> dict[str, Any] | None:
        """Its ready line; None as long as there is none. Raises AssertionError with its last words when it has ended."""
        for line in self.lines():
            if line.get("event") == "ready":
                return line
        assert self.running, f"{self.name} ended with {self._process.returncode}:\n{self.last_words()}"
        return None

    def last_words(self) -> str:
        return self.stderr_path.read_text(errors="replace")[-3000:]

    def address(self, what: str) -> str:
        """An address of the ready line: `health`, `http`, `sandbox`."""
        said = until(f"{self.name} is ready", self.ready, START_S)
        return str(said[what])

    def health(self, path: str) -> tuple[int, Any]:
        """(status, body) of `/livez`, `/readyz` or `/metrics`."""
        status, body = request(f"http://{self.address('health')}{path}")
        return int(status), body

    def is_ready(self) -> bool:
        return self.health("/readyz")[0] == 200

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def terminate(self, within_s: float = END_S) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        return self._process.wait(within_s)

    def wait(self, within_s: float = END_S) -> int:
        return self._process.wait(within_s)

    def close(self) -> None:
        if self.running:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
