"""A real Chromium: the one that is here, else Debian's package; never a download of another kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.services.debian import install
from tests.services.errors import ProviderUnavailable

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-noto-cjk")
ADVICE = "install Debian's packages chromium and fonts-noto-cjk, or put a Chromium on PATH; there are no browser tests without"


def find_chromium(announce: Callable[[str], None]) -> str:
    """Its path. Raises ProviderUnavailable with what to do."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        try:
            install(announce, "Chromium", *PACKAGES)
        except ProviderUnavailable as error:
            raise ProviderUnavailable(f"{error}; {ADVICE}") from error
        found = shutil.which(PACKAGES[0])
    if found is None:
        raise ProviderUnavailable(ADVICE)
    return found


@contextmanager
def chromium(announce: Callable[[str], None]) -> Iterator[Browser]:
    """Started, and ended with everything it opened."""
    path = find_chromium(announce)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox refuses to run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*as_root, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()
