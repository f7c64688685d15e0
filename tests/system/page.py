"""The page of external runs as a test has it: users' tokens, hands on the page, and what runs behind it."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow
from tests.system.browser import Hands
from tests.system.cases import Case, Cases
from tests.system.conftest import HERE
from tests.system.versions import AIRFLOW

needs_pages = pytest.mark.skipif(AIRFLOW < (3, 1), reason="pages of plugins came with Airflow 3.1")

ROOT = HERE.parents[1]
AXE = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()
PAGE = "plugin/external-runs"
OF_TASK = "plugin/external-runs-of-task-instance"
DIALOGUE = "//*[@role='dialog' or self::dialog]"
CASES = (ROOT / "tests" / "unit" / "plugin" / "pure_cases.js").read_text()
ONE_REFRESH = 20.0
"""Seconds: five between two answers, and what a busy machine takes for one."""

MOST_TABS = 80
MOST_IN_DIALOGUE = 6

Token = Callable[[str, str | None], str]


def tokens_of(airflow: RealAirflow) -> Token:
    """Return what makes tokens of users, by name and role of the simple auth manager."""
    made = requests.get(f"{airflow.url}/auth/token", timeout=60).json()["access_token"]
    claims, header = jwt.decode(made, options={"verify_signature": False}), jwt.get_unverified_header(made)
    secret = airflow._environment["AIRFLOW__API_AUTH__JWT_SECRET"]

    def make(name: str, role: str | None) -> str:
        return jwt.encode({**claims, "sub": name, "role": role}, secret, algorithm=header["alg"], headers=header)

    return make


class Page(Hands):
    """The page, and the dialogue on it.

    :param url: Airflow's.
    :param name: begins the names of screenshots.
    """

    def __init__(self, browser: webdriver.Remote, url: str, name: str = "page") -> None:
        super().__init__(browser, name)
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


class Keyboard:
    """A keyboard, and where its keys go.

    :param page: what it is in front of.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.browser = page.browser

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self) -> str:
        """Return the name of what has the focus, as a screen reader says it; the whole page has none."""
        element = self.browser.switch_to.active_element
        return "" if element.tag_name == "body" else element.accessible_name

    def tab(self, *, back: bool = False) -> str:
        """Go to what comes next, or before; return its name."""
        keys = ActionChains(self.browser)
        if back:
            keys.key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        else:
            keys.send_keys(Keys.TAB).perform()
        return self.focused()

    def tab_to(self, name: str, *, back: bool = False) -> None:
        """Go on until something of that name has the focus."""
        passed = []
        for _ in range(MOST_TABS):
            passed.append(self.tab(back=back))
            if passed[-1] == name:
                return
        raise AssertionError(f"no {name!r} among {passed}")

    def round(self) -> set[str]:
        """Return the names of all that the focus goes through."""
        return {self.tab() for _ in range(2 * MOST_IN_DIALOGUE)}

    def is_inside_until(self, path: str, done: Callable[[], bool]) -> bool:
        """Return True if whatever had the focus until ``done`` was inside of what is there."""
        outside = "const [within] = arguments; return !within.contains(document.activeElement)"
        left = []

        def looked() -> bool:
            within = self.browser.find_element(By.XPATH, path)
            left.append(self.browser.execute_script(outside, within))  # type: ignore[no-untyped-call]
            return done()

        self.page.until(looked, "the focus")
        return not any(left)


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

    def follow(self, dag_id: str, *task_ids: str) -> None:
        """Wait until a triggerer follows the runs of these tasks: below 3.3 a kill that comes before that is lost."""
        for task_id in task_ids:
            self.airflow.triggerer_of(dag_id, self.cases[dag_id].run_id, task_id, timeout=180)

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
