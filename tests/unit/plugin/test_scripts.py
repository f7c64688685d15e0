"""The page's scripts: given out by the door, to whoever asks, also where the API behind them is out of order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl import plugin
from airflow_runctl.compat import AIRFLOW
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.base import StartRunOperator
from airflow_runctl.plugin import in_airflow
from airflow_runctl.plugin.door import Door
from airflow_runctl.plugin.scripts import SCRIPTS
from airflow_runctl.sensors.run import ExternalRunSensor
from tests.unit.plugin.conftest import World

FOLDER = Path(plugin.__file__).parent


def test_every_script_that_lies_there_is_given_out() -> None:
    assert {file.name for file in FOLDER.glob("*.js")} == SCRIPTS


def test_no_script_imports_what_is_not_there() -> None:
    for name in SCRIPTS:
        imported = re.findall(r'from "([^"]+)"', (FOLDER / name).read_text())
        assert {f"./{other}" for other in SCRIPTS} >= set(imported), name


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_is_given_out_as_it_lies_there(world: World, name: str) -> None:
    answer = world.stranger().get(f"/runctl/{name}")
    assert (answer.status_code, answer.content) == (200, (FOLDER / name).read_bytes())
    assert answer.headers["content-type"].startswith("text/javascript")
    again = world.stranger().get(f"/runctl/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert world.stranger().head(f"/runctl/{name}").content == b""


@pytest.mark.parametrize("path", ["page.py", "words.py", "../door.py", "page.js/x", "%2e%2e/door.py"])
def test_nothing_else_is(world: World, path: str) -> None:
    answer = world.stranger().get(f"/runctl/{path}")
    assert "text/javascript" not in answer.headers["content-type"]
    assert "import" not in answer.text


def test_the_page_can_say_that_the_api_is_out_of_order() -> None:
    from starlette.testclient import TestClient

    client = TestClient(Door("no.such.module"))
    assert client.get("/page.js").status_code == 200
    assert client.get("/runs").status_code == 503


# -- what Airflow is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "script"),
    [
        ("2.11.0", None),
        ("3.0.6", None),
        ("3.1.8", "../../runctl/page.js"),
        ("3.2.1", "../../runctl/page.js"),
        ("3.3.2", "runctl/page.js"),
        ("3.4.0b2", "runctl/page.js"),
        ("4.0.0.dev0", "runctl/page.js"),
    ],
)
def test_a_page_is_announced_as_this_airflow_loads_it(version: str, script: str | None) -> None:
    pages = in_airflow.pages(version)
    assert {page["bundle_url"] for page in pages} == ({script} if script else set())
    routes = [page["url_route"] for page in pages]
    assert len(set(routes)) == len(routes)
    assert [page.get("category") for page in pages if page["destination"] == "nav"] == (["browse"] if script else [])


def test_only_the_api_server_announces_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "airflow.api_fastapi.main", raising=False)
    for argv, serves in (
        (["airflow", "api-server"], True),
        (["airflow", "scheduler"], False),
        (["airflow", "standalone"], False),
        (["airflow", "dags", "api-server"], False),
        ([], False),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        assert in_airflow.serves_pages() is serves
    monkeypatch.setitem(sys.modules, "airflow.api_fastapi.main", in_airflow)
    assert in_airflow.serves_pages() is True


def test_from_3_4_on_the_tabs_of_tasks_are_for_our_operators_only() -> None:
    scoped: dict[str, Any] = {page["destination"]: page.get("applies_to") for page in in_airflow.pages("3.4.0")}
    assert scoped["task"] == {"ui_color": [StartRunOperator.ui_color]}
    assert scoped["task_instance"] == {"task.ui_color": [ExternalRunSensor.ui_color]}
    assert {scoped["nav"], scoped["dag"], scoped["dag_run"]} == {None}
    assert not any("applies_to" in page for page in in_airflow.pages("3.3.2"))


@pytest.mark.skipif(AIRFLOW < (3, 4), reason="Airflow tells from 3.4 on for which tasks a tab is")
def test_airflow_answers_by_what_the_tabs_of_tasks_go() -> None:
    from airflow.api_fastapi.core_api.datamodels.tasks import TaskResponse
    from airflow.providers.common.compat.sdk import DAG, BaseOperator
    from airflow.serialization.serialized_objects import DagSerialization

    class Another(AxiomTriggerRunOperator):
        """As somebody makes one of ours into their own."""

    with DAG("nightly", schedule=None) as dag:
        AxiomTriggerRunOperator(task_id="plain", name="Scrape")
        AxiomTriggerRunOperator.partial(task_id="mapped").expand(name=["one", "two"])
        Another(task_id="another", name="Scrape")
        BaseOperator(task_id="other")
    read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    answered = {task.task_id: TaskResponse.model_validate(task, from_attributes=True).ui_color for task in read.tasks}
    [ours] = in_airflow.SCOPES["task"]["ui_color"]
    assert {name for name, color in answered.items() if color == ours} == {"plain", "mapped", "another"}


def test_the_script_leaves_its_component_under_the_name_that_is_announced() -> None:
    assert f'const NAME = "{in_airflow.PAGE}";' in (FOLDER / "page.js").read_text()
    [history] = re.findall(r"/plugin/([\w-]+)", (FOLDER / "pure.js").read_text())
    assert history == in_airflow.DESTINATIONS["task_instance"]
