"""A headless Chromium for tests that look at Airflow's pages, and what a person does in it."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from demo.real_airflow import RealAirflow, free_port

Found = TypeVar("Found")

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
SECONDS = 60

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--force-prefers-reduced-motion",
    "--window-size=1400,1900",
]


def programs() -> tuple[str, str]:
    """Return where the browser and its driver are; without them the test is skipped."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no Chromium with chromedriver here: apt-get install chromium chromium-driver")
    return browser, driver


@contextmanager
def opened(airflow: RealAirflow, program: str, driver: str) -> Iterator[webdriver.Remote]:
    """Open a browser. Whatever happens, it ends together with the Airflow that it belongs to."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(airflow.home), "TMPDIR": str(airflow.home)}
    # Not --port=0: it takes one that is free over IPv6 first, and ends if that is taken over IPv4.
    airflow.sessions.start("chromedriver", [driver, f"--port={free_port()}"], environment)

    def port() -> str | None:
        found = re.search(r"started successfully on port (\d+)", airflow.sessions.log("chromedriver").read_text())
        return found and found[1]

    address = f"http://127.0.0.1:{airflow.wait_for(port, 'chromedriver', SECONDS)}"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"--user-data-dir={airflow.home / 'chromium'}"]:
        options.add_argument(flag)
    direct = ClientConfig(address, proxy=Proxy({"proxyType": ProxyType.DIRECT}))
    remote = webdriver.Remote(command_executor=address, options=options, client_config=direct)
    try:
        yield remote
    finally:
        remote.quit()


class Hands:
    """Somebody at a browser.

    :param browser: the browser.
    :param name: begins the names of screenshots, which go to ``build/screenshots`` and which CI keeps.
    """

    def __init__(self, browser: webdriver.Remote, name: str) -> None:
        self.browser = browser
        self.name = name
        self._shots = 0
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def shot(self, what: str) -> None:
        """Keep a screenshot."""
        self._shots += 1
        self.browser.save_screenshot(str(SCREENSHOTS / f"{self.name}-{self._shots}-{what}.png"))

    def until(self, condition: Callable[[], Found], what: str, seconds: float = SECONDS) -> Found:
        """Ask until ``condition`` is true; an element that moves or is replaced meanwhile is looked for again."""
        wait = WebDriverWait(self.browser, seconds, poll_frequency=0.1, ignored_exceptions=[WebDriverException])
        try:
            return wait.until(lambda _: condition(), what)
        except TimeoutException:
            self.shot("failed")
            raise

    def see(self, path: str) -> WebElement:
        """Return the first element that is shown under this XPath."""
        shown = self.until(lambda: [e for e in self.browser.find_elements(By.XPATH, path) if e.is_displayed()], path)
        return shown[0]

    def click(self, path: str) -> None:
        """Click on what is shown there."""
        self.until(lambda: self.see(path).click() is None, f"a click on {path}")

    def write(self, path: str, text: str) -> None:
        """Replace what is in a field, as somebody at a keyboard does."""

        def done() -> bool:
            field = self.see(path)
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(Keys.DELETE)
            field.send_keys(text)
            return field.get_attribute("value") == text

        self.until(done, f"{text!r} in {path}")
