"""OpenLineage is told which run at which vendor a task stands for; it is loaded by nobody but its own listener."""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from attrs import asdict, define, field

from airflow_runctl.compat import lineage
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.operators.tasks import Tasks, ends

pytestmark = pytest.mark.usefixtures("brisk")


@define
class StandIn:
    """The base of OpenLineage's facets, as far as a facet of ours meets it."""

    _producer: str = field(default="", kw_only=True)


@define
class StandInLineage:
    run_facets: dict[str, Any]


@pytest.fixture(params=["stand-in", *(["OpenLineage"] if find_spec("airflow.providers.openlineage") else [])])
def openlineage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With OpenLineage itself where it is installed, which the environments of the tests need not have."""
    lineage.facet_class.cache_clear()
    if request.param == "stand-in":
        extractors = ModuleType("airflow.providers.openlineage.extractors")
        extractors.OperatorLineage = StandInLineage  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "airflow.providers.openlineage", ModuleType("airflow.providers.openlineage"))
        monkeypatch.setitem(sys.modules, extractors.__name__, extractors)
        monkeypatch.setattr("airflow.providers.common.compat.openlineage.facet.RunFacet", StandIn)
    yield
    lineage.facet_class.cache_clear()


def told(came: Any) -> dict[str, Any]:
    """Return the one facet, as it is sent."""
    ((name, facet),) = came.run_facets.items()
    assert name == "airflowRunctl_externalRun"
    sent: dict[str, Any] = json.loads(json.dumps(asdict(facet)))
    assert sent.pop("_producer").startswith("https://")
    sent.pop("_schemaURL", None)
    return sent


@pytest.mark.usefixtures("openlineage")
@pytest.mark.parametrize(("mode", "good"), [("deferred", True), ("worker", False)])
def test_a_run_that_is_over(tasks: Tasks, box: Sandbox, mode: str, good: bool) -> None:
    ends(box, "snaplogic", good, seconds=0.05)
    attempt = tasks.run(lambda **more: tasks.snaplogic(**more), mode)

    ask = "get_openlineage_facets_on_complete" if good else "get_openlineage_facets_on_failure"
    facet = told(getattr(attempt.task, ask)(attempt.ti))

    (run,) = box.runs()
    assert facet == {
        "vendor": "snaplogic",
        "connId": "snaplogic_default",
        "runId": run["run_id"],
        "url": tasks.audit()["url"],
        "state": "succeeded" if good else "failed",
    }
    assert box.seed not in str(facet)


@pytest.mark.usefixtures("openlineage")
def test_a_run_that_the_task_left_running(tasks: Tasks) -> None:
    attempt = tasks.fake.run(tasks.axiom(wait_for_completion=False))
    facet = told(attempt.task.get_openlineage_facets_on_complete(attempt.ti))
    assert facet["runId"] == attempt.result["run_id"]
    assert facet["state"] == attempt.result["state"]


@pytest.mark.usefixtures("openlineage")
def test_before_the_start_and_without_one_there_is_no_run(tasks: Tasks, box: Sandbox) -> None:
    box.fault("axiom", "start", "status", status=403, count=1)
    nothing = {"vendor": "axiom", "connId": "axiom_default", "runId": None, "url": None, "state": None}
    assert told(tasks.axiom().get_openlineage_facets_on_start()) == nothing
    attempt = tasks.fake.run(tasks.axiom())
    assert told(attempt.task.get_openlineage_facets_on_failure(attempt.ti)) == nothing


def test_without_openlineage_there_is_nothing_to_tell(tasks: Tasks) -> None:
    lineage.facet_class.cache_clear()
    if lineage.facet_class() is not None:
        pytest.skip("OpenLineage is installed")
    assert tasks.axiom().get_openlineage_facets_on_start() is None
