"""A key ring that follows its file, so that `daifu vault rotate` needs no restart of who holds the ring."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from pipeline.secret import Secret
from pipeline.vault import KeyRing, PublicKey, VaultError, key_id_of

log = structlog.get_logger()

Mark = tuple[int, int, int]


class LiveRing(KeyRing):
    """Reads its file again where that has changed: before it seals, and before it says that a key is not on it.

    Whoever shares the file may therefore rotate at any moment: a box that is closed with a key of a second ago opens. A file that
    can't be read, or is no ring, leaves the ring as it was and is said in the log.
    """

    def __init__(self, path: Path, on_change: Callable[[KeyRing], None]) -> None:
        """`on_change` is given the ring as first read and after each change. Raises VaultError."""
        self._path, self._on_change = path, on_change
        self._mark = _mark_of(path)  # before the content: a change in between is found the next time
        self.held = KeyRing.load(path).held
        on_change(self)

    def open(self, sealed: str) -> Secret:
        if key_id_of(sealed) not in self.held.boxes:
            self._follow()
        return super().open(sealed)

    @property
    def public(self) -> PublicKey:
        self._follow()
        return super().public

    def _follow(self) -> None:
        try:
            mark = _mark_of(self._path)
            if mark == self._mark:
                return
            held = KeyRing.load(self._path).held
        except VaultError as error:
            log.warning("key_ring_not_read", error=str(error))
            return
        self._mark, self.held = mark, held
        self._on_change(self)
        log.info("key_ring_changed", ring=self._path.name, keys=len(held.keys), current=held.keys[-1].key_id)


def _mark_of(path: Path) -> Mark:
    """Tells one content of the file from the next. Raises VaultError."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise VaultError(f"key ring {path}: {error.strerror}") from None
    return status.st_ino, status.st_mtime_ns, status.st_size
