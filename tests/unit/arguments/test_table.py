"""Every public argument is in the table; what it cannot be is refused with class, task, argument, value and mend."""

import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_runctl.arguments import kinds
from airflow_runctl.arguments.kinds import Kind
from airflow_runctl.arguments.reading import arguments_of
from airflow_runctl.notifications import StopRunsNotifier
from airflow_runctl.operators.axiom import AxiomStopRunOperator, AxiomTriggerRunOperator
from airflow_runctl.operators.bctrl import BctrlRunTaskOperator, BctrlStartRuntimeOperator, BctrlStopRuntimeOperator
from airflow_runctl.operators.snaplogic import (
    SnapLogicResumeTaskOperator,
    SnapLogicStopTaskOperator,
    SnapLogicTriggerTaskOperator,
)
from airflow_runctl.operators.sweep import SweepRunsOperator
from airflow_runctl.operators.vectorshift import (
    VectorShiftPauseRunOperator,
    VectorShiftResumeRunOperator,
    VectorShiftRunPipelineOperator,
    VectorShiftTerminateRunOperator,
)
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.sensors.run import ExternalRunSensor
from airflow_runctl.triggers.run import ExternalRunTrigger
from airflow_runctl.triggers.sensor import ExternalRunSensorTrigger
from tests.fakes.airflow_3 import FakeAirflow

GOOD: dict[type, dict[str, Any]] = {
    SnapLogicTriggerTaskOperator: {"task_path": "projects/sales/hang"},
    SnapLogicStopTaskOperator: {"ruuid": "r"},
    SnapLogicResumeTaskOperator: {"ruuid": "r"},
    AxiomTriggerRunOperator: {"name": "Hang"},
    AxiomStopRunOperator: {"pid": "07", "pw": "topsecret"},
    VectorShiftRunPipelineOperator: {"pipeline_id": "p"},
    VectorShiftTerminateRunOperator: {"pipeline_id": "p", "run_id": "r"},
    VectorShiftPauseRunOperator: {"pipeline_id": "p", "run_id": "r"},
    VectorShiftResumeRunOperator: {"pipeline_id": "p", "run_id": "r"},
    BctrlStartRuntimeOperator: {"workspace_id": "w", "alias": "a"},
    BctrlStopRuntimeOperator: {"workspace_id": "w", "alias": "a"},
    BctrlRunTaskOperator: {"agent": "a", "input": "go"},
    ExternalRunSensor: {"external_run": {"run_id": "r"}},
    SweepRunsOperator: {},
    StopRunsNotifier: {},
}
"""The classes that a Dag file names, each with arguments that are good."""

TRIGGERS: dict[type, dict[str, Any]] = {
    ExternalRunTrigger: {"external_run": {"run_id": "r"}},
    ExternalRunSensorTrigger: {"external_run": {"run_id": "r"}},
}

NOT_OURS = {"self", "kwargs", "args", "context", "task_id"}

NO_SECONDS = [-1, float("nan"), float("inf"), "60", True, timedelta(seconds=-1), [5]]
NO_TEXT = ["", "  ", "None", 7, ["a"], {}]

BAD: dict[Kind, list[Any]] = {
    kinds.SECONDS: [*NO_SECONDS, None, 0, timedelta(0)],
    kinds.SECONDS_OR_ZERO: [*NO_SECONDS, None],
    kinds.SPAN: [60, "1h", timedelta(0), timedelta(seconds=-5), True],
    kinds.BOOL: ["false", "True", "no", 0, 1, None],
    kinds.TEXT: NO_TEXT,
    kinds.WHOLE: [0, -1, 1.5, float("inf"), "5", True, None],
    kinds.ON_RETRY: ["", "again", None, 1],
    kinds.METHOD: ["", "FETCH", 7],
    kinds.MAP: ["a=b", ["a"], 7, {1: "x"}],
    kinds.TASK_IDS: ["", [], "[]", 7, [""], {"a": 1}],
    kinds.STATES: ["succeeded", [], ["over"], 7],
    kinds.IDS: [[], 7, {"run_id": ""}, {}],
    kinds.HANDLES: ["", [], 7],
    kinds.FILTERS: ["name=x", {"name": ""}, 7],
    kinds.ROWS: ["a", {"a": 1}, [7]],
    kinds.PROMPT: ["", [], 7],
    kinds.VERSION: [0, "x", 1.5],
    kinds.REMARK: [7, ["because"]],
    kinds.SHARE: [-0.1, 1.5, "half", True, None],
    kinds.PATTERNS: ["finance_*", [""], [7], None],
}


def make(cls: type, fake: FakeAirflow, **given: Any) -> Any:
    arguments = {**GOOD[cls], **given}
    if cls is StopRunsNotifier:
        return cls(**arguments)
    with fake.dag():
        return cls(task_id="t", **arguments)


def parameters(cls: type) -> set[str]:
    """Return the names of everything that a user can give to a class of this package."""
    ours = [part for part in cls.__mro__ if part.__module__.startswith("airflow_runctl.")]
    return {
        name for part in ours if "__init__" in vars(part) for name in inspect.signature(part.__init__).parameters
    } - NOT_OURS


def called(cls: Any, name: str) -> str:
    return (arguments_of(cls)[name].called or name).format(vendor=getattr(cls, "vendor", None))


@pytest.mark.parametrize("cls", [*GOOD, *TRIGGERS])
def test_every_public_argument_is_in_the_table(cls: type) -> None:
    table = {called(cls, name) for name in arguments_of(cls)} | set(arguments_of(cls))
    internal = {"conn_id", "ids"}
    assert parameters(cls) - internal <= table


def refused() -> Iterator[Any]:
    """Yield each argument of each class, and what it cannot be."""
    for cls in GOOD:
        for name, argument in arguments_of(cls).items():
            if argument.kind is kinds.ANYTHING or name == "external_run" or name == "poke_interval":
                continue
            user_name = called(cls, name)
            values = [value for value in BAD[argument.kind] if not (value is None and argument.optional)]
            yield pytest.param(cls, user_name, values, id=f"{cls.__name__}-{user_name}")


@pytest.mark.parametrize(("cls", "name", "values"), [*refused()])
def test_what_an_argument_cannot_be_is_refused_when_the_dag_is_parsed(
    fake: FakeAirflow, cls: type, name: str, values: list[Any]
) -> None:
    for value in values:
        given = {**GOOD[cls], name: value}
        if cls is ExternalRunSensor and name in {"ids", "vendor", "conn_id"}:
            given = {"external_run": None, "vendor": "axiom", "ids": {"name": "x"}, name: value}
        try:
            make(cls, fake, **given)
        except ValueError as error:
            said = str(error)
        else:
            pytest.fail(f"{value!r} was taken")
        assert cls.__name__ in said or "sensor 't'" in said, value
        assert name in said, value
        assert "topsecret" not in said, value
        assert "'t'" in said or cls is StopRunsNotifier, value


SECONDS = [
    (cls, name)
    for cls in GOOD
    for name, argument in arguments_of(cls).items()
    if argument.kind is kinds.SECONDS and name != "poke_interval"  # Airflow's own
]


@pytest.mark.parametrize(("cls", "name"), SECONDS)
def test_timedelta_is_understood_where_seconds_are_meant(fake: FakeAirflow, cls: type, name: str) -> None:
    assert getattr(make(cls, fake, **{name: timedelta(minutes=2)}), name) == 120.0


NOTHING = ["{{ none }}", "{{ '' }}", "{{ ' ' }}"]

SENDS: list[tuple[Any, str]] = [
    (SnapLogicStopTaskOperator, "ruuid"),
    (SnapLogicResumeTaskOperator, "ruuid"),
    (SnapLogicTriggerTaskOperator, "task_path"),
    (AxiomStopRunOperator, "pid"),
    (AxiomStopRunOperator, "pw"),
    (AxiomTriggerRunOperator, "name"),
    (VectorShiftTerminateRunOperator, "pipeline_id"),
    (VectorShiftTerminateRunOperator, "run_id"),
    (VectorShiftPauseRunOperator, "run_id"),
    (VectorShiftResumeRunOperator, "run_id"),
    (VectorShiftRunPipelineOperator, "pipeline_id"),
    (BctrlStopRuntimeOperator, "workspace_id"),
    (BctrlStopRuntimeOperator, "alias"),
    (BctrlStartRuntimeOperator, "alias"),
    (BctrlRunTaskOperator, "agent"),
    (BctrlRunTaskOperator, "input"),
    (SnapLogicStopTaskOperator, "snaplogic_conn_id"),
]


@pytest.mark.parametrize("template", NOTHING)
@pytest.mark.parametrize(("cls", "name"), SENDS)
def test_template_that_comes_to_nothing_is_refused_before_anything_is_sent(
    fake: FakeAirflow, box: Sandbox, cls: type, name: str, template: str
) -> None:
    attempt = fake.run(make(cls, fake, **{**GOOD[cls], name: template}))
    assert attempt.state == "failed"
    assert f"{cls.__name__} 't': {name} came out of its template as" in attempt.said
    assert "Nothing was sent." in attempt.said
    assert box.requests() == []


def test_viewer_url_that_comes_to_nothing_is_refused_and_not_shown(fake: FakeAirflow, box: Sandbox) -> None:
    given = {"pid": None, "pw": None, "viewer_url": "{{ '' }}"}
    attempt = fake.run(make(AxiomStopRunOperator, fake, **given))
    assert "viewer_url came out of its template as nothing" in attempt.said
    assert box.requests() == []


@pytest.mark.parametrize(("cls", "arguments"), TRIGGERS.items())
@pytest.mark.parametrize("odd", [{"poll_interval": float("nan")}, {"limits": "x"}, {"ride_out": None}])
def test_trigger_with_an_odd_argument_is_refused_as_it_is_stored_and_never_as_it_is_made(
    cls: Any, arguments: dict[str, Any], odd: dict[str, Any]
) -> None:
    """A trigger that raised as it is made from its row would leave its run unwatched."""
    trigger = cls(**arguments, **odd)
    with pytest.raises(ValueError, match=f"{cls.__name__}: {next(iter(odd))} is"):
        trigger.serialize()
