"""Server processes that this run starts, and ends by their own id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.errors import ServiceFailed


class ServerProcess:
    """One server in a process group of its own, its output in a file."""

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str], user: str | None = None) -> None:
        self._log = log
        self._command = command
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                user=user,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def require_running(self) -> None:
        """Raises ServiceFailed with the end of the server's own output when it has ended."""
        if not self.running:
            raise ServiceFailed(f"{self._command[0]} ended with {self._process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def end(self, how: signal.Signals, patience_s: float) -> None:
        """Ask the server to end; after `patience_s` seconds its whole group is killed."""
        if self.running:
            self._process.send_signal(how)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the server and every process it started in its group: what a power cut leaves."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
