"""The page of external runs in Airflow's own UI, on a real Airflow and in a browser, as somebody on call uses it.

Screenshots of each state go to ``build/screenshots``, which CI keeps.
"""

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.browser import Hands, opened, programs
from tests.system.cases import Case, Cases
from tests.system.conftest import HERE, QUICK
from tests.system.versions import AIRFLOW

pytestmark = [
    pytest.mark.essential,
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="pages of plugins came with Airflow 3.1"),
]

VENDORS = ("snaplogic", "axiom", "vectorshift", "bctrl")
ROOT = HERE.parents[1]
AXE = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()
PAGE = "plugin/external-runs"
OF_TASK = "plugin/external-runs-of-task-instance"
CASES = (ROOT / "tests" / "unit" / "plugin" / "pure_cases.js").read_text()
ONE_REFRESH = 20.0
"""Seconds: five between two answers, and what a busy machine takes for one."""


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


Token = Callable[[str, str | None], str]


@pytest.fixture(scope="module")
def token(own_airflow: RealAirflow) -> Token:
    """Make tokens; for users of each role of the simple auth manager."""
    made = requests.get(f"{own_airflow.url}/auth/token", timeout=60).json()["access_token"]
    claims, header = jwt.decode(made, options={"verify_signature": False}), jwt.get_unverified_header(made)
    secret = own_airflow._environment["AIRFLOW__API_AUTH__JWT_SECRET"]

    def make(name: str, role: str | None) -> str:
        return jwt.encode({**claims, "sub": name, "role": role}, secret, algorithm=header["alg"], headers=header)

    return make


class Page(Hands):
    """The page, and the dialogue on it.

    :param url: Airflow's.
    """

    def __init__(self, browser: webdriver.Remote, url: str) -> None:
        super().__init__(browser, "page")
        self.url = url

    def open(self, path: str, token: str | None = None) -> None:
        """Open a page of Airflow, as the user of a token from then on."""
        if token is not None:
            self.browser.get(f"{self.url}/api/v2/version")
            self.browser.delete_all_cookies()
            self.browser.add_cookie({"name": "_token", "value": token, "path": "/"})
        self.browser.get(f"{self.url}/{path}")

    def rows(self) -> dict[str, str]:
        """Return the text of each row by the id of its run."""
        found = self.browser.find_elements(By.CSS_SELECTOR, "tr[data-run]")
        return {str(row.get_attribute("data-run")): row.text for row in found}

    def wait_for_rows(self, wanted: set[str]) -> None:
        """Wait until exactly these runs are listed."""
        self.until(lambda: set(self.rows()) == wanted, f"rows of {sorted(wanted)}")

    def row(self, run_id: str) -> str:
        """Return the path of a row."""
        return f"//tr[@data-run='{run_id}']"

    def says(self, run_id: str, *words: str, seconds: float = ONE_REFRESH) -> None:
        """Wait until a row says one of these words."""
        self.until(lambda: any(word in self.rows().get(run_id, "") for word in words), f"{words} of {run_id}", seconds)

    def act(self, run_id: str, what: str) -> None:
        """Press a button of a row."""
        self.click(f"{self.row(run_id)}//button[normalize-space()='{what}']")

    def confirm(self, what: str, reason: str) -> str:
        """Give a reason, press the button, wait for the end; return what the dialogue says then."""
        self.write(f"{DIALOGUE}//input", reason)
        self.click(f"{DIALOGUE}//button[normalize-space()='{what}']")
        self.see(f"{DIALOGUE}//button[normalize-space()='Close']")
        return self.see(DIALOGUE).text

    def close(self) -> None:
        """Close the dialogue."""
        self.click(f"{DIALOGUE}//button[normalize-space()='Close']")
        self.until(lambda: not self.browser.find_elements(By.XPATH, DIALOGUE), "the dialogue to close")

    def check_accessible(self, what: str) -> None:
        """Let axe look at all that is ours on the page; nothing serious may be found. Keep a screenshot."""
        self.shot(what)
        self.browser.execute_script(AXE)  # type: ignore[no-untyped-call]
        ask = "const done = arguments[0]; axe.run({include: [['.xr']]}).then(found => done(found.violations))"
        found = self.browser.execute_async_script(ask)  # type: ignore[no-untyped-call]
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], what

    def check_pure_functions(self) -> None:
        """Ask the pure functions of the page, as this browser has them."""
        ask = """
            const [base, cases, done] = arguments;
            const url = URL.createObjectURL(new Blob([cases], {type: "text/javascript"}));
            Promise.all([import(`${base}/runctl/pure.js`), import(url)])
                .then(([pure, { cases }]) => done(cases(pure)), (error) => done([[String(error), 0, 1]]));
        """
        answered = self.browser.execute_async_script(ask, self.url, CASES)  # type: ignore[no-untyped-call]
        assert [(name, answer, wanted) for name, answer, wanted in answered if answer != wanted] == []

    def color(self, theme: str) -> None:
        """Choose light or dark, and load the page anew."""
        self.browser.execute_script("localStorage.setItem('theme', arguments[0])", theme)  # type: ignore[no-untyped-call]
        self.browser.refresh()


DIALOGUE = "//*[@role='dialog' or self::dialog]"


@pytest.fixture
def page(browser: webdriver.Remote, own_airflow: RealAirflow) -> Page:
    return Page(browser, own_airflow.url)


Ids = dict[str, dict[str, str]]


class World:
    """What runs at the vendors: which Dag, which vendor, which run."""

    def __init__(self, airflow: RealAirflow, sandbox: Sandbox, token: Token) -> None:
        self.airflow, self.sandbox, self.token = airflow, sandbox, token
        self.cases: dict[str, Case] = {}
        self.ids: Ids = {}

    def ask(self, path: str, token: str | None = None) -> Any:
        """Ask the API, without a browser."""
        bearer = {"Authorization": f"Bearer {token or self.token('ann', 'ADMIN')}"}
        answer = requests.get(f"{self.airflow.url}/runctl/{path}", headers=bearer, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, dag_id: str, *vendors: str) -> None:
        """Start a Dag, and wait until its runs are recorded."""
        cases = Cases(self.airflow, self.sandbox)
        case = cases.start(dag_id, vendors[0])
        for vendor in vendors[1:]:
            self.sandbox.behave(vendor, case.name, run_seconds=None)
        for vendor in vendors:
            case.wait_for_handle(vendor, timeout=180)
        self.cases[dag_id] = case
        listed = self.ask(f"runs?dag_id={dag_id}")["runs"]
        self.ids[dag_id] = {run["task_id"]: run["run_id"] for run in listed}
        assert set(self.ids[dag_id]) == set(vendors), listed

    def follow(self, dag_id: str) -> None:
        """Wait until a triggerer follows the runs of a Dag: below 3.3 a kill that comes before that is lost."""
        for vendor in VENDORS:
            if (dag_id, vendor) == ("page_one", "snaplogic"):
                continue  # its task does not wait for it
            self.airflow.triggerer_of(dag_id, self.cases[dag_id].run_id, vendor, timeout=180)

    def all_ids(self) -> set[str]:
        """Return the ids of all runs."""
        return {run_id for ids in self.ids.values() for run_id in ids.values()}

    def at_vendor(self, dag_id: str, vendor: str) -> dict[str, Any]:
        """Return a run as its vendor has it, where it may have another id."""
        [run] = self.sandbox.runs(vendor=vendor, name=self.cases[dag_id].name)
        return run

    def stops(self) -> set[tuple[str, str]]:
        """Return the runs that a vendor was asked to stop."""
        dags = {case.name: dag_id for dag_id, case in self.cases.items()}
        return {(dags[run["name"]], run["vendor"]) for run in self.sandbox.runs() if run["stop_requests"]}

    def history(self, dag_id: str, task_id: str) -> str:
        """Return the address of what became of a task's runs."""
        return f"dags/{dag_id}/runs/{quote(self.cases[dag_id].run_id)}/tasks/{task_id}/{OF_TASK}"


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
    for dag_id in ("page_one", "page_two"):
        world.follow(dag_id)

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
