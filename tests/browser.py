"""Chromium without a window, for pages that lie on this machine; every word and request of a page is kept."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip
LIMIT_S = 40.0


def find_chromium() -> tuple[str, str] | None:
    """Returns the paths of the browser and of its driver; None where one is not there."""
    found = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    return (str(found[0]), str(found[1])) if all(found) else None


MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_chromium() is None, reason="needs chromium and chromedriver (apt-get install chromium-driver)"
    ),
]
"""Of tests with a browser."""


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Opens the page anew and waits until it is ready."""
        self.driver.get("about:blank")
        self.driver.get(address)
        self.wait("document.documentElement.dataset.ready === 'true'")

    def ask(self, expression: str) -> Any:
        """Returns the value of an expression in the page."""
        return self.driver.execute_script(f"return {expression}")

    def act(self, code: str) -> None:
        self.driver.execute_script(code)

    def wait(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + LIMIT_S
        while not self.ask(expression):
            assert time.monotonic() < end, f"{expression} did not become true; said: {self.said()}"
            time.sleep(0.03)

    def press(self, key: str, code: int) -> None:
        """Presses a key where the focus is."""
        event = {"key": key, "windowsVirtualKeyCode": code, "code": key}
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyDown", **event})
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def click(self, x: float, y: float) -> None:
        """Clicks a point of the window."""
        event = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **event})

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Gives the window another size, and the system another taste."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def said(self) -> list[str]:
        """Returns what the page wrote to its console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked(self) -> set[str]:
        """Returns scheme and host of all requests since the last time, but for those that the page's policy stopped."""
        found = {}
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            params = message["params"]
            if message["method"] == "Network.requestWillBeSent":
                parts = urlsplit(params["request"]["url"])
                if parts.scheme == "chrome":  # its own first page
                    continue
                found[params["requestId"]] = f"{parts.scheme}://{parts.hostname or ''}"
            elif message["method"] == "Network.loadingFailed" and params.get("blockedReason") == "csp":
                found.pop(params["requestId"], None)
        return set(found.values())


@contextmanager
def open_browser(folder: str, *flags: str) -> Iterator[Browser]:
    """Starts Chromium with a profile in a folder, and ends it."""
    chromium, driver = find_chromium() or ("", "")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # the driver is spoken to on loopback, whatever proxy the machine has
    service = Service(driver, env={**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"})
    started = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(started)
    finally:
        started.quit()
