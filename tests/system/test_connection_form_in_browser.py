"""The connection forms in a browser: opened, filled in, saved, read back, tested, as a person does it.

Screenshots of each step go to ``build/screenshots``, which CI keeps.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from airflow_runctl.provider_info import CONNECTION_TYPES
from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.browser import Hands, opened, programs
from tests.system.versions import essential

FORMS: dict[str, dict[str, Any]] = {row["connection-type"]: row for row in CONNECTION_TYPES}  # type: ignore
STANDARD = {"host": "Host", "login": "Login", "password": "Password", "port": "Port", "schema": "Schema"}

EXTRAS = {
    "task_hosts": "https://snaplex.example.com:8081",
    "dashboard_url": "https://dashboard.example.com/{org}/{ruuid}",
    "subaccount_id": "sub-1",
    "auth": "basic",
    "seal_key": "a-long-random-seal-key",
    "timeout": "20",
    "verify": "true",
    "proxies": "",
}
"""What is filled in where the sandbox's own connection says nothing."""

KNOWN = {"bctrl": "AIRFLOW_CONN_BCTRL_BROWSERS"}
"""The sandbox's connection that has a use for every field, where that is not the default one."""

MASKED = {"seal_key", "task_token", "proxies"}


@pytest.fixture(scope="module")
def chromium() -> tuple[str, str]:
    """Where the browser and its driver are."""
    return programs()


@pytest.fixture(scope="module")
def airflow(chromium: tuple[str, str], airflow_database: str | None) -> Iterator[RealAirflow]:
    """An Airflow with nothing in it, whose test button is switched on."""
    config = {"core.test_connection": "Enabled", "core.sensitive_var_conn_names": "seal_key"}
    with RealAirflow(config=config, database=airflow_database) as booted:
        yield booted


@pytest.fixture(scope="module")
def browser(chromium: tuple[str, str], airflow: RealAirflow) -> Iterator[webdriver.Remote]:
    """A headless Chromium."""
    with opened(airflow, *chromium) as remote:
        yield remote


class Connections(Hands):
    """Airflow's page of connections."""

    def __init__(self, browser: webdriver.Remote, url: str, name: str) -> None:
        super().__init__(browser, name)
        self.url = f"{url}/connections"

    def open(self) -> None:
        self.browser.get(self.url)
        self.see("//button[contains(., 'Add Connection')]")

    def choose(self, path: str, option: str) -> None:
        """Open a selection and take one of what it offers."""
        self.click(path)
        self.click(f"//*[@role='option'][normalize-space()='{option}']")

    # -- the form --

    def add(self, conn_id: str, hook_name: str) -> None:
        self.click("//button[contains(., 'Add Connection')]")
        self.write("//input[@name='connection_id']", conn_id)
        self.choose("//*[@role='dialog']//input[@role='combobox']", hook_name)
        self.see("//input[@name='host']")

    def edit(self, conn_id: str) -> None:
        self.click(f"{self._row(conn_id)}//button[@aria-label='Edit Connection']")
        self.see("//input[@name='host']")

    def unfold(self, heading: str) -> None:
        """Show one of the form's parts; the others fold."""
        button = f"//*[@role='dialog']//button[@data-part='item-trigger'][normalize-space()='{heading}']"
        self.until(lambda: self.see(button).get_attribute("aria-expanded") == "true" or self.click(button), heading)

    def labels(self) -> list[str]:
        found = self.browser.find_elements(By.XPATH, "//*[@role='dialog']//label")
        return [element.text.removesuffix("*").strip() for element in found if element.is_displayed()]

    def fill_extra(self, name: str, text: str, schema: dict[str, Any]) -> None:
        if "enum" in schema:
            self.choose(f"//*[@id='element_{name}']//input[@role='combobox']", text)
        else:
            self.write(f"//input[@name='element_{name}']", text)

    def value(self, name: str) -> str | None:
        return self.browser.find_element(By.XPATH, f"//*[@role='dialog']//input[@name='{name}']").get_attribute("value")

    def save(self) -> None:
        self.click("//*[@role='dialog']//button[contains(., 'Save')]")
        dialogs = "//*[@role='dialog']"
        self.until(lambda: not self.browser.find_elements(By.XPATH, dialogs), "the form to close")

    # -- the list --

    def _row(self, conn_id: str) -> str:
        return f"//tr[.//td[normalize-space()='{conn_id}']]"

    def test(self, conn_id: str) -> tuple[str, str]:
        """Press the test button; return title and text of what Airflow says."""
        self.click(f"{self._row(conn_id)}//button[@aria-label='Test Connection']")
        toast = "//*[@data-scope='toast'][@data-part='root'][contains(., 'Test Connection')]"
        title = self.see(f"{toast}//*[@data-part='title']").text
        return title, self.see(f"{toast}//*[@data-part='description']").text


@pytest.fixture
def page(browser: webdriver.Remote, airflow: RealAirflow, conn_type: str) -> Connections:
    page = Connections(browser, airflow.url, conn_type)
    page.open()
    return page


@essential
@pytest.mark.parametrize("conn_type", FORMS)
def test_form_is_filled_in_saved_read_back_and_tested(
    conn_type: str, page: Connections, airflow: RealAirflow, sandbox: Sandbox
) -> None:
    form = FORMS[conn_type]
    behaviour = form["ui-field-behaviour"]
    known = json.loads(sandbox.connections[KNOWN.get(conn_type, f"AIRFLOW_CONN_{conn_type.upper()}_DEFAULT")])
    address = urlsplit(known["host"])
    # The button of Airflow 3.3.2 refuses connections without a port (apache/airflow#73298).
    standard = {
        "host": f"{address.scheme}://{address.hostname}{address.path}",
        "port": str(address.port),
        "password": known["password"],
        **({"login": known["login"]} if "login" in known else {}),
    }
    extras = {name: str(known.get("extra", {}).get(name, EXTRAS.get(name, ""))) for name in form["conn-fields"]}
    extras = {name: text for name, text in extras.items() if text}
    conn_id = f"by_hand_{conn_type}"

    # The form shows what applies, and nothing else.
    page.add(conn_id, form["hook-name"])
    page.shot("empty")
    shown = set(page.labels())
    for name, title in STANDARD.items():
        hidden = name in behaviour["hidden-fields"]
        assert (behaviour["relabeling"].get(name, title) in shown) is not hidden, (name, shown)
    for name, text in standard.items():
        page.write(f"//input[@name='{name}']", text)
    page.shot("standard")
    page.unfold("Extra Fields")
    assert {field["label"] for field in form["conn-fields"].values()} <= set(page.labels())
    for name, text in extras.items():
        page.fill_extra(name, text, form["conn-fields"][name]["schema"])
    page.shot("extra")
    for name, field in form["conn-fields"].items():
        if field["schema"].get("format") == "password":
            secret = page.see(f"//input[@name='element_{name}']")
            assert secret.get_attribute("type") == "password", name
    page.save()

    # REST gives back what was filled in, but for secrets.
    stored = airflow.request("GET", "connections", conn_id)
    assert stored["conn_type"] == conn_type
    assert {name: str(stored[name]) for name in standard} == {**standard, "password": "***"}
    masked = {name: "***" if name in MASKED else text for name, text in extras.items()}
    told = {name: str(value) for name, value in json.loads(stored["extra"]).items() if value is not None}
    assert told == masked

    # So does the form.
    page.open()
    page.edit(conn_id)
    page.unfold("Extra Fields")
    page.shot("read-back")
    for name, text in {**standard, "password": "***"}.items():
        assert page.value(name) == text
    for name, text in masked.items():
        assert page.value(f"element_{name}") == text
    # A change of something else leaves the secrets alone.
    page.unfold("Standard Fields")
    page.write("//textarea[@name='description']", "changed by hand")
    page.save()

    # The button reaches the sandbox with the credential that was filled in.
    sandbox.clear_requests()
    title, message = page.test(conn_id)
    page.shot("tested")
    assert title == "Test Connection Successful", message
    assert message.startswith("Reached ")
    assert message.endswith(f"Address: {known['host']}")
    assert [request["status"] for request in sandbox.requests(vendor=conn_type)] == [200]

    # And says what is wrong with a wrong one.
    page.open()
    page.edit(conn_id)
    page.write("//input[@name='password']", "a-wrong-credential")
    page.save()
    title, message = page.test(conn_id)
    page.shot("refused")
    assert title == "Test Connection Failed"
    assert "HTTP 401" in message
    assert "Check the" in message
