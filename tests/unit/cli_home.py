"""`daifu` commands on a home of their own, as the embedded default has it after `daifu up`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.clock import WallClock
from pipeline.store.engine import Store, open_store


@dataclass(frozen=True)
class Home:
    path: Path

    def call(self, *arguments: str, stdin: str = "", **settings: str) -> Result:
        """Run a command as a person called ann; defects are raised, not swallowed."""
        environment = {"DAIFU_HOME": str(self.path), "LOGNAME": "ann"} | settings
        before = structlog.get_config()
        try:
            result = CliRunner().invoke(main, arguments, input=stdin, env=environment)
        finally:
            structlog.configure(**before)  # a command logs to its own stderr, which ends with it
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        """What the command printed with `--json`: all of stdout."""
        result = self.call(*arguments, "--json", stdin=stdin)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def ready(self) -> Home:
        """With tables and key rings."""
        self.json("db", "upgrade")
        self.json("vault", "keygen")
        return self

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = open_store(f"sqlite:///{self.path / 'daifu.sqlite3'}", WallClock())
        try:
            yield store
        finally:
            store.close()
