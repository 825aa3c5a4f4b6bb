"""Debian's own packages, where nothing else is to be had: RabbitMQ, Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.services.errors import ProviderUnavailable

INSTALL = Path(__file__).with_name("debian_install.sh")


def install_rabbitmq(announce: Callable[[str], None]) -> None:
    """Raises ProviderUnavailable."""
    install(announce, "RabbitMQ", "rabbitmq-server")


def install(announce: Callable[[str], None], what: str, *packages: str) -> None:
    """As root on Debian: announced, no system service started or enabled. Raises ProviderUnavailable."""
    names = " ".join(packages)
    if not Path("/etc/debian_version").exists() or shutil.which("apt-get") is None:
        raise ProviderUnavailable("this is not Debian")
    if os.geteuid() != 0:
        raise ProviderUnavailable(f"only root can install {names}")
    announce(f"no {what} here: installing Debian's {names} (no system service is started or enabled)")
    done = subprocess.run(
        ["bash", str(INSTALL), *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProviderUnavailable(f"installing {names} failed:\n{done.stdout[-2000:]}")
