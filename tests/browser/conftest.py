"""Fixtures of the browser tests: one Chromium and one console for each file, one context for each test.

While Playwright runs, this thread has an event loop: no `asyncio.run` in these tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import chromium
from tests.browser.site import DESKTOP, PHONE, Site, site_at, watched_page


@pytest.fixture(scope="module")
def chromium_browser(announce: Callable[[str], None]) -> Iterator[Browser]:
    """Ends with each file: the tests that this process runs next may need the thread's event loop for themselves."""
    with chromium(announce) as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console with data. What a test changes, later tests of its file see."""
    with site_at(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def page(chromium_browser: Browser, site: Site) -> Iterator[Page]:
    """A desktop's page, nobody signed in (`site.sign_in(page, "bob")`)."""
    with watched_page(chromium_browser, site, DESKTOP) as page:
        yield page


@pytest.fixture
def phone(chromium_browser: Browser, site: Site) -> Iterator[Page]:
    """A phone's page: 390 wide, touched."""
    with watched_page(chromium_browser, site, PHONE) as page:
        yield page
