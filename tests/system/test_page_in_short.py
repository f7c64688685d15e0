"""The page of external runs on every Airflow that can have it, below a base path, with the keyboard alone.

The whole story is in ``test_page.py``; screenshots go to ``build/screenshots`` too.
"""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.browser import opened, programs
from tests.system.conftest import HERE, QUICK
from tests.system.page import DIALOGUE, PAGE, Keyboard, Page, World, needs_pages, tokens_of
from tests.system.versions import AIRFLOW, each_version, essential

pytestmark = [essential, each_version, needs_pages]

BASE_PATH = "/some/base"


@pytest.fixture(scope="module")
def own_airflow(
    own_sandbox: Sandbox, importable: dict[str, str], airflow_database: str | None
) -> Iterator[RealAirflow]:
    """An Airflow that shares its host with others, and asks nobody to log in."""
    programs()
    with RealAirflow(
        dag_folders=[HERE / "dags_with_page"],
        environment={**own_sandbox.connections, **importable},
        config=QUICK,
        database=airflow_database,
        base_path=BASE_PATH,
    ) as booted:
        yield booted


@pytest.fixture
def page(own_airflow: RealAirflow) -> Iterator[Page]:
    with opened(own_airflow, *programs()) as remote:
        yield Page(remote, own_airflow.url, f"page-{'.'.join(map(str, AIRFLOW))}")


def test_a_run_is_found_and_stopped_with_the_keyboard_alone(
    own_airflow: RealAirflow, own_sandbox: Sandbox, page: Page
) -> None:
    world = World(own_airflow, own_sandbox, tokens_of(own_airflow))
    world.start("page_short", "snaplogic", "axiom")
    ids = world.ids["page_short"]
    world.follow("page_short", *ids)

    # From the menu. What runs is named, and no address leaves the base path.
    page.open("")
    page.click("//button[contains(., 'Browse')]")
    page.click("//*[@role='menuitem'][contains(., 'External runs')]")
    page.wait_for_rows(world.all_ids())
    assert page.browser.current_url == f"{own_airflow.url}/{PAGE}"
    assert f"projects/sales/{world.cases['page_short'].name}" in page.rows()[ids["snaplogic"]]
    links = page.browser.find_elements(By.CSS_SELECTOR, "tr[data-run] a[data-to]")
    assert len(links) > 4
    assert all(str(link.get_attribute("href")).startswith(f"{own_airflow.url}/dags/page_short") for link in links)

    # It is sorted and filtered, and that is in the address.
    keys = Keyboard(page)
    keys.tab_to("Run")
    keys.press(Keys.ENTER)
    page.until(lambda: list(page.rows()) == [ids["axiom"], ids["snaplogic"]], "axiom first")
    keys.press(Keys.SPACE)
    page.until(lambda: list(page.rows()) == [ids["snaplogic"], ids["axiom"]], "axiom last")
    keys.tab_to("Vendor", back=True)
    keys.press("a")
    page.wait_for_rows({ids["axiom"]})
    assert page.browser.current_url.endswith(f"{BASE_PATH}/{PAGE}?sort=run.desc&vendor=axiom")

    # It is selected; the dialogue is left, with nothing done and the focus where it was; and opened again.
    keys.tab_to(f"Select axiom run {ids['axiom']}")
    keys.press(Keys.SPACE)
    keys.tab_to("Stop 1 run…", back=True)
    keys.press(Keys.ENTER)
    page.see(DIALOGUE)
    page.until(lambda: keys.focused() == "Reason", "the focus on the reason")
    keys.press(Keys.ESCAPE)
    page.until(lambda: not page.browser.find_elements(By.XPATH, DIALOGUE), "the dialogue to close")
    page.until(lambda: keys.focused() == "Stop 1 run…", "the focus back on the button")
    assert world.stops() == set()
    keys.press(Keys.ENTER)
    page.until(lambda: keys.focused() == "Reason", "the focus on the reason")
    assert keys.round() >= {"Reason", "Cancel"}
    assert keys.round() <= {"External runs", "Reason", "Cancel", "Close"}

    # A reason, and it is stopped. The focus stays in the dialogue all the time, and goes back to the list.
    keys.tab_to("Reason")
    keys.press("costs too much")
    keys.tab_to("Stop 1 run")
    keys.press(Keys.ENTER)
    assert keys.is_inside_until(DIALOGUE, lambda: keys.focused() == "Close")
    assert "1 of 1 seen to be over" in page.see(DIALOGUE).text
    page.check_accessible("stopped")
    keys.press(Keys.ENTER)
    page.until(lambda: not page.browser.find_elements(By.XPATH, DIALOGUE), "the dialogue to close")
    page.until(lambda: keys.focused() == "External runs", "the focus on the list")
    page.says(ids["axiom"], "stopped")
    page.check_accessible("list")
    assert world.stops() == {("page_short", "axiom")}
    assert world.at_vendor("page_short", "snaplogic")["open"]

    # What became of it is with its task, to which the row leads; from 3.4 on other operators' tasks have no such tab.
    keys.tab_to(f"History of axiom run {ids['axiom']}")
    keys.press(Keys.ENTER)
    page.see("//article[contains(., 'costs too much')]")
    assert page.browser.current_url == f"{own_airflow.url}/{world.history('page_short', 'axiom')}"
    page.see(TAB)
    page.check_accessible("history")
    page.open(f"dags/page_short/runs/{quote(world.cases['page_short'].run_id)}/tasks/other")
    page.see("//*[contains(., '@task') or contains(., 'PythonDecoratedOperator')][not(*)]")  # the task is read by then
    page.see("//a[contains(@href, '/tasks/other/details')]")
    assert bool(page.browser.find_elements(By.XPATH, TAB)) is (AIRFLOW < (3, 4))
    page.shot("another-task")


TAB = "//a[contains(@href, '/plugin/external-runs-of-task-instance')][normalize-space()='External runs']"
