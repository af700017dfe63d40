"""A real headless Chromium for tests of pages, with access to its console and its requests.

Needs Debian's packages ``chromium`` and ``chromium-driver``, or Chrome with its driver. To save a
screenshot of a whole page, run ``python -m tests.browser PAGE.html PICTURE.png [WIDTH]``.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "these tests open the report in a real browser: install one with `apt-get install chromium "
    "chromium-driver`, or leave the tests out with `pytest -m 'not browser and not optional'`"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
)


class Browser:
    """A Chromium with its own profile, driven by Selenium."""

    def __init__(self, profile: Path) -> None:
        binary = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        driver = shutil.which("chromedriver")
        if binary is None or driver is None:
            raise RuntimeError(MISSING)
        options = ChromeOptions()
        options.binary_location = binary
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=Service(driver))
        self.driver.set_script_timeout(30)

    def open(self, page: Path, width: int = 1280, height: int = 900, mobile: bool = False) -> None:
        """Open a file on a screen of this size, wait until it is loaded, and clear all logs."""
        self.resize(width, height, mobile)
        self.driver.get("about:blank")
        self.console()
        self.driver.get_log("performance")  # type: ignore[no-untyped-call]
        self.driver.get(page.resolve().as_uri())

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Emulate a screen of this size: that of a phone if `mobile`."""
        metrics = {"width": width, "height": height, "mobile": mobile}
        self.command(
            "Emulation.setDeviceMetricsOverride", deviceScaleFactor=2 if mobile else 1, **metrics
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the Chrome DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, script: str) -> None:
        """Wait until a JavaScript expression, checked at every frame, is true; for 30 s at most."""
        self.driver.execute_async_script(
            f"const done = arguments[0];"
            f"const look = () => ({script}) ? done() : requestAnimationFrame(look); look();"
        )

    def console(self) -> list[str]:
        """Return console messages and uncaught errors since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [f"{entry['level']}: {entry['message']}" for entry in entries]

    def requests(self) -> list[str]:
        """Return the addresses requested since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Save a screenshot of the window, or of the whole page."""
        picture = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        if whole:
            size = self.command("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            picture = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(picture["data"]))

    def quit(self) -> None:
        """End the browser."""
        self.driver.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all tests of a module."""
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


def take_picture(page: Path, picture: Path, width: int = 1280) -> None:
    """Save a screenshot of a whole page with all figures drawn."""
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(Path(profile))
        try:
            browser.open(page, width, 900, mobile=width < 600)
            count = browser.run("return document.querySelectorAll('figure').length")
            for number in range(count):
                figure = f"document.querySelectorAll('figure')[{number}]"
                browser.run(f"{figure}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
                browser.wait_for(f"{figure}.querySelector('.panels svg, .panels canvas')")
            browser.run("scrollTo({top: 0, behavior: 'instant'})")
            browser.screenshot(picture, whole=True)
        finally:
            browser.quit()


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
