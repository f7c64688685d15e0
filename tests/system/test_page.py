"""The page of external runs in Airflow's own UI, on a real Airflow and in a browser, as somebody on call uses it.

Screenshots of each state go to ``build/screenshots``, which CI keeps.
"""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.browser import opened, programs
from tests.system.conftest import HERE, QUICK
from tests.system.page import DIALOGUE, PAGE, Page, Token, World, needs_pages, tokens_of

pytestmark = needs_pages

VENDORS = ("snaplogic", "axiom", "vectorshift", "bctrl")


@pytest.fixture(scope="module")
def own_airflow(
    own_sandbox: Sandbox, importable: dict[str, str], airflow_database: str | None
) -> Iterator[RealAirflow]:
    """An Airflow whose users can have rights to single Dags, and whose API server may speak to vendors."""
    programs()
    config = {**QUICK, "core.auth_manager": "dag_rights.DagRights", "runctl.act_in_api_server": True}
    with RealAirflow(
        dag_folders=[HERE / "dags_with_page"],
        environment={**own_sandbox.connections, **importable},
        config=config,
        database=airflow_database,
    ) as booted:
        yield booted


@pytest.fixture(scope="module")
def browser(own_airflow: RealAirflow) -> Iterator[webdriver.Remote]:
    with opened(own_airflow, *programs()) as remote:
        yield remote


@pytest.fixture(scope="module")
def token(own_airflow: RealAirflow) -> Token:
    return tokens_of(own_airflow)


@pytest.fixture
def page(browser: webdriver.Remote, own_airflow: RealAirflow) -> Page:
    return Page(browser, own_airflow.url)


def check_refusals(world: World) -> None:
    """Without a login, without the right, from another site: nothing is answered, nothing is done."""
    url, body = f"{world.airflow.url}/runctl", {"dag_id": "page_one", "reason": "no"}
    viewer, uma = world.token("vic", "VIEWER"), world.token("uma", "USER")
    cookie = {"Cookie": f"_token={uma}"}
    run_id = quote(world.cases["page_one"].run_id)
    foreign = {**cookie, "Origin": "https://evil.example"}
    for path in ("runs", "ways", "stops", f"history?dag_id=page_one&dag_run_id={run_id}"):
        assert requests.get(f"{url}/{path}", timeout=60).status_code == 401
        assert requests.get(f"{url}/{path}", headers=foreign, timeout=60).status_code == 403
    for headers, status in (
        ({}, 401),
        ({"Authorization": f"Bearer {viewer}"}, 403),
        (cookie, 403),
        (foreign, 403),
        ({**cookie, "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        for act in ("stop", "resume"):
            assert requests.post(f"{url}/{act}", json=body, headers=headers, timeout=60).status_code == status
    hidden = world.ask("history?dag_id=page_one&dag_run_id=x", world.token("only-page_two", "USER"))
    assert hidden == {"records": [], "is_all": True}
    assert world.stops() == set()


@pytest.mark.timeout(1200)  # it is as long as it takes: thirteen runs, and a deadline
def test_somebody_on_call_looks_and_acts(
    own_airflow: RealAirflow, own_sandbox: Sandbox, token: Token, page: Page
) -> None:
    world = World(own_airflow, own_sandbox, token)
    page.open(PAGE, token("ann", "ADMIN"))
    page.see("//h2[normalize-space()='No external run may be alive.']")
    page.check_accessible("empty")
    page.check_pure_functions()

    for dag_id in ("page_one", "page_two", "page_three"):
        world.start(dag_id, *VENDORS)
    one, two = world.ids["page_one"], world.ids["page_two"]
    assert len(world.all_ids()) == 12

    # Who may see one Dag sees its runs, and who may not act is offered nothing.
    page.open(PAGE, token("only-page_two", "VIEWER"))
    page.wait_for_rows(set(two.values()))
    page.see("//*[@role='status'][contains(., '4 runs')]")
    assert not page.browser.find_elements(By.XPATH, "//button[starts-with(normalize-space(), 'Stop')]")
    page.open(PAGE, token("only-nothing", "VIEWER"))
    page.see("//*[@role='alert'][contains(., 'You lack the right for this.')]")
    page.check_accessible("refused")

    # All twelve; the filter is in the address, and an address is a filter.
    page.open("", token("uma", "USER"))
    page.open(PAGE)
    page.wait_for_rows(world.all_ids())
    page.check_accessible("list")
    page.open(f"{PAGE}?vendor=axiom&dag_id=page_two")
    page.wait_for_rows({two["axiom"]})
    page.click("//button[normalize-space()='Clear the filter']")
    page.wait_for_rows(world.all_ids())
    page.click("//label[normalize-space()='Vendor']/following::select[1]/option[@value='bctrl']")
    page.wait_for_rows({ids["bctrl"] for ids in world.ids.values()})
    assert page.browser.current_url.endswith("?vendor=bctrl")
    page.click("//button[normalize-space()='Clear the filter']")
    check_refusals(world)
    world.follow("page_one", "axiom", "vectorshift", "bctrl")  # the other task does not wait for its run
    world.follow("page_two", *VENDORS)

    # A dialogue is left by the keyboard, and nothing has happened. The task's fate is said before.
    stop = page.see(f"{page.row(one['axiom'])}//button[normalize-space()='Stop']")
    stop.send_keys(Keys.ENTER)
    assert "It is marked as failed by this, and no retry comes." in page.see(DIALOGUE).text
    page.check_accessible("dialogue")
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    page.until(lambda: not page.browser.find_elements(By.XPATH, DIALOGUE), "the dialogue to close")
    assert world.stops() == set()

    # One is stopped.
    page.act(one["axiom"], "Stop")
    assert "1 of 1 seen to be over" in page.confirm("Stop 1 run", "costs too much")
    page.check_accessible("stopped")
    page.close()
    page.says(one["axiom"], "stopped")
    assert (world.stops(), world.at_vendor("page_one", "axiom")["open"]) == ({("page_one", "axiom")}, False)

    # A new run comes up by itself, and with it its deadline.
    world.start("page_late", "axiom")
    late = world.ids["page_late"]["axiom"]
    page.says(late, "until the deadline")

    # One that is over when the button is pressed.
    page.act(one["vectorshift"], "Stop")
    own_sandbox.set_run(world.at_vendor("page_one", "vectorshift")["run_id"], "completed")
    own_airflow.wait_for(lambda: not world.ask(f"runs?run_id={one['vectorshift']}")["runs"], "its end to be seen", 90)
    assert "was over by then; nothing was done" in page.confirm("Stop 1 run", "too late")
    page.close()
    assert ("page_one", "vectorshift") not in world.stops()

    # One whose vendor refuses: it is said that it may be alive.
    fault = own_sandbox.fault("bctrl", "stop", "status", status=403)
    page.act(one["bctrl"], "Stop")
    said = page.confirm("Stop 1 run", "in vain")
    assert "0 of 1 seen to be over" in said
    assert "may be alive" in said
    page.check_accessible("not-stopped")
    page.close()
    own_sandbox.clear_faults(fault)
    assert world.at_vendor("page_one", "bctrl")["open"]

    # A suspended one is seen by a look, and resumed.
    suspended = world.at_vendor("page_one", "snaplogic")["run_id"]
    own_sandbox.set_run(suspended, "Suspended")
    page.act(one["snaplogic"], "Look now")
    page.says(one["snaplogic"], "seen just now", "ago")
    page.act(one["snaplogic"], "Resume")
    assert "1 of 1 seen to go on" in page.confirm("Resume 1 run", "go on")
    page.close()
    own_sandbox.wait_for_state(suspended, "Started")

    # Five at once: those that were selected, and no others.
    five = {("page_one", "snaplogic"), *(("page_two", vendor) for vendor in VENDORS)}
    for run_id in (one["snaplogic"], *two.values()):
        page.click(f"{page.row(run_id)}//input[@type='checkbox']")
    page.click("//button[normalize-space()='Stop 5 runs…']")
    assert "5 of 5 seen to be over" in page.confirm("Stop 5 runs", "the load is wrong")
    page.close()
    assert not any(world.at_vendor(*run)["open"] for run in five)

    # The deadline passes. The page was open all the time, and the row says so.
    own_airflow.wait_for(lambda: not world.ask("runs?dag_id=page_late")["runs"], "the deadline", 180)
    page.says(late, "a deadline")
    page.shot("deadline")

    # What is left has nobody any more; it is stopped directly.
    page.act(one["bctrl"], "Stop")
    assert "1 of 1 seen to be over" in page.confirm("Stop 1 run", "it is nobody's")
    page.close()

    # What nobody wanted to end is alive, and was never asked to.
    asked = {("page_one", "axiom"), ("page_one", "bctrl"), ("page_late", "axiom"), *five}
    assert world.stops() == asked
    assert [run["name"] for run in own_sandbox.open_runs()] == [world.cases["page_three"].name] * 4

    # What became of it, at its task and in its Dag run; and Airflow's own log has the user.
    page.open(world.history("page_one", "axiom"))
    page.see("//article[contains(., 'started')][contains(., 'stop')][contains(., 'costs too much')]")
    page.check_accessible("history")
    page.open(f"dags/page_one/runs/{quote(world.cases['page_one'].run_id)}/plugin/external-runs-of-dag-run")
    page.until(lambda: len(page.browser.find_elements(By.TAG_NAME, "article")) == 4, "the four runs")
    page.check_accessible("dag-run")
    logged = own_airflow.request("GET", "eventLogs", query={"event": "runctl_stop", "limit": 100})["event_logs"]
    assert {(one["owner"], one["dag_id"]) for one in logged} == {("uma", "page_one"), ("uma", "page_two")}

    # The last days, in the dark; and what is said when the API server does not answer.
    page.open(PAGE)
    page.color("dark")
    page.click("//summary")
    page.see("//details//table[contains(., 'a deadline')]")
    page.check_accessible("days-dark")
    page.browser.execute_script("window.fetch = () => Promise.reject(new TypeError('away'))")  # type: ignore[no-untyped-call]
    page.click("//button[normalize-space()='Refresh']")
    page.see("//*[@role='alert'][contains(., 'does not answer')]")
    page.check_accessible("failing-dark")
