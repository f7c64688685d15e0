"""Below Airflow 3.3 a retry knows of no earlier run: that is said when the Dag is parsed."""

import warnings
from typing import Any

import pytest

from airflow_runctl.exceptions import RetriesStartAnew
from airflow_runctl.operators import start_arguments
from airflow_runctl.operators.axiom import AxiomTriggerRunOperator
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator


def made(monkeypatch: pytest.MonkeyPatch, has_store: bool, **more: Any) -> list[warnings.WarningMessage]:
    """Return the warnings of an operator's making."""
    monkeypatch.setattr(start_arguments, "HAS_TASK_STORE", has_store)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        AxiomTriggerRunOperator(task_id="t", name="x", **more)
    return [warning for warning in seen if issubclass(warning.category, RetriesStartAnew)]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("on_retry", ["reattach", "restart"])
def test_retries_are_warned_about_where_none_knows_of_an_earlier_run(
    monkeypatch: pytest.MonkeyPatch, deferrable: bool, on_retry: str
) -> None:
    (warning,) = made(monkeypatch, False, retries=1, deferrable=deferrable, on_retry=on_retry)

    assert "AxiomTriggerRunOperator 't' has retries. Below Airflow 3.3" in str(warning.message)
    assert "Set retries=0" in str(warning.message)


@pytest.mark.parametrize(("has_store", "retries"), [(True, 1), (False, 0)])
def test_nothing_is_said_where_nothing_can_be_lost(
    monkeypatch: pytest.MonkeyPatch, has_store: bool, retries: int
) -> None:
    assert made(monkeypatch, has_store, retries=retries) == []


def test_resume_on_retry_is_refused_where_no_retry_knows_of_an_earlier_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_arguments, "HAS_TASK_STORE", False)
    with pytest.raises(ValueError, match=r"'t': on_retry='resume' needs Airflow 3\.3"):
        SnapLogicTriggerTaskOperator(task_id="t", task_path="a/b", on_retry="resume")
