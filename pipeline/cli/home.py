"""DAIFU_HOME of the embedded default: made on first use, held by one `daifu up` at a time, kept over restarts."""

from __future__ import annotations

import fcntl
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pipeline.errors import UsageProblem
from pipeline.secret import Secret
from pipeline.settings import Settings
from pipeline.vault import KeyRing

AM_TOKEN_FILE = "am-token"  # noqa: S105 - a file's name


class HomeInUse(UsageProblem):
    """Another `daifu up` runs on the same HOME."""


def prepare_home(settings: Settings) -> None:
    """Make HOME, and the two key rings where there are none yet."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (settings.vault_path, settings.service_keys_path):
        if not path.exists():
            KeyRing.generate(datetime.now(UTC)).save(path)


def hold_home(settings: Settings) -> IO[str]:
    """Lock HOME for this process; the lock ends with it, however it ends. Raises HomeInUse."""
    lock = (settings.home / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise HomeInUse(f"another `daifu up` runs on {settings.home}; stop it, or set DAIFU_HOME") from None
    return lock


def am_token(settings: Settings) -> Secret:
    """The token of the AM door: the setting, or one kept in HOME for `daifu publish` on the same machine."""
    if settings.am_token is not None:
        return settings.am_token
    path: Path = settings.home / AM_TOKEN_FILE
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return Secret(path.read_text().strip())
