"""The built site, served to a browser that reaches nothing else."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.site.build import build
from tools.serve import server

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
MISSING = (
    "no Chromium found: the site was not opened in a browser. Install it "
    "(Debian, Ubuntu: apt-get install chromium; macOS: brew install "
    "chromium) and run the tests again"
)


def find_browser() -> str | None:
    """Give the system's Chromium, or the one that S2S_BROWSER names."""
    named = os.environ.get("S2S_BROWSER")
    found = [shutil.which(name) for name in (named, *BROWSERS) if name]
    return next(filter(None, found), None)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site, built as `make book` builds it, warnings as errors."""
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def address(site) -> Iterator[str]:
    """The address at which the site is served during the tests."""
    with server(site) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; without one the tests are skipped, never in CI."""
    path = find_browser()
    if path is None:
        if os.environ.get("CI") or os.environ.get("S2S_REQUIRE_BROWSER"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()
