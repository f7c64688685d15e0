"""Hook methods beside runs: SnapLogic's quota and tasks, axiom.ai's reports, automations and remaining runtime."""

import pytest

from airflow_runctl.exceptions import VendorError
from airflow_runctl.hooks.axiom import AxiomHook
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator


@pytest.fixture
def snaplogic(fake) -> SnapLogicHook:
    return SnapLogicHook("snaplogic_default")


@pytest.fixture
def axiom(fake) -> AxiomHook:
    return AxiomHook("axiom_default")


def test_the_quota_of_an_org_is_read(snaplogic):
    both = snaplogic.get_quota()
    assert both["organization"] == "Acme"
    assert both["daily_limit"] >= both["daily_call_used"] >= 0
    assert "daily_call_available" in snaplogic.get_quota("daily")
    assert "concurrent_call_in_progress" in snaplogic.get_quota("concurrent")


def test_a_task_is_disabled_and_enabled(snaplogic, box):
    snaplogic.disable_task("/Acme/projects/sales/ultra")
    snaplogic.enable_task("projects/sales/ultra")

    asked = [(r["operation"], r["body"]) for r in box.requests() if r["operation"] in ("enable", "disable")]
    assert asked == [
        ("disable", '{"task_path": "/Acme/projects/sales/ultra"}'),
        ("enable", '{"task_path": "/Acme/projects/sales/ultra"}'),
    ]


def test_a_200_that_lists_the_task_as_failed_is_an_error(snaplogic):
    with pytest.raises(VendorError, match="did not disable task /Acme/projects/sales/no-such"):
        snaplogic.disable_task("/Acme/projects/sales/no-such")


def test_axiom_reports_automations_and_remaining_runtime(axiom):
    assert "Nightly prices" in axiom.list_automations()
    assert axiom.get_reports(count=3) == []
    assert set(axiom.get_remaining_runtime()) == {"used", "allowance", "remaining"}


def test_disable_task_does_not_go_with_a_search():
    with pytest.raises(ValueError, match="disable_task goes with ruuid or external_run"):
        SnapLogicStopTaskOperator(task_id="stop", search={"invoker": "always_on"}, disable_task="/a/b/c")


def test_the_run_of_an_ultra_task_ends_for_good_when_its_task_is_disabled(snaplogic, box, fake):
    snaplogic.enable_task("/Acme/projects/sales/ultra")
    (run,) = box.open_runs(vendor="snaplogic")

    with fake.dag():
        stop = SnapLogicStopTaskOperator(
            task_id="stop", ruuid=run["run_id"], disable_task="/Acme/projects/sales/ultra", stop_timeout=20.0
        )
    result = fake.run(stop).result

    assert result["outcome"] in ("stopped", "already_finished")
    assert box.open_runs(vendor="snaplogic") == []


def test_an_unknown_quota_is_refused(snaplogic):
    with pytest.raises(ValueError, match=r"SnapLogicHook\.get_quota: kind is 'no-such'; give one of daily, concurrent"):
        snaplogic.get_quota("no-such")
