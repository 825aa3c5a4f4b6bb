"""The sandbox's memory: an append-only file of JSON lines, on disk before an answer leaves.

A line with `seq` and `kind` is a journal line (INTERFACES section 7) and may be given out; a line with `state` is the
sandbox's own and never is. A last line cut by a kill is dropped; any other unreadable line stops the start.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class JournalDamagedError(ValueError):
    """A line before the last one can't be read: the file is not what this sandbox wrote."""


class Journal:
    """`path` None keeps nothing: a sandbox in memory. The file is readable by its owner alone: it holds agents' keys.

    Raises JournalDamagedError, and OSError, as BlockingIOError while another sandbox has the file open.
    """

    def __init__(self, path: Path | None) -> None:
        self._fd: int | None = None
        self.found: list[Record] = []  # what an earlier run left, in order; emptied by `take_found`
        self._written = 0  # bytes appended by this process
        self._durable = 0  # of these, synced
        self._flush: asyncio.Task[None] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two writers would number lines twice
                self.found = self._replay(path)
            except BaseException:
                self.close()
                raise
            _sync_directory(path.parent)  # the file's own name must survive a power cut too

    def _replay(self, path: Path) -> list[Record]:
        assert self._fd is not None  # noqa: S101 - only called right after the open
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        if torn:
            os.ftruncate(self._fd, len(whole) + 1 if whole else 0)
            os.fsync(self._fd)
        records: list[Record] = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise JournalDamagedError(f"{path} line {number} is not JSON") from error
            if not isinstance(record, dict):
                raise JournalDamagedError(f"{path} line {number} is not an object")
            records.append(record)
        return records

    def take_found(self) -> list[Record]:
        """The records of earlier runs, once."""
        found, self.found = self.found, []
        return found

    def append(self, records: Iterable[Record]) -> None:
        """Hand the lines to the operating system in one write: a kill of this process can no longer lose them."""
        if self._fd is None:
            return
        data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._written += len(data)

    async def synced(self) -> None:
        """Return once everything appended so far is on disk. Many waiters share one fsync. Raises OSError."""
        wanted = self._written
        while self._durable < wanted:
            if self._flush is None:
                self._flush = asyncio.create_task(self._sync())
            await asyncio.shield(self._flush)

    async def _sync(self) -> None:
        assert self._fd is not None  # noqa: S101 - nothing is ever written without a file
        mark = self._written
        try:
            await asyncio.to_thread(os.fsync, self._fd)
            self._durable = mark
        finally:
            self._flush = None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
