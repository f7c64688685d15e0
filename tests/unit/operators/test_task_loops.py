"""In a task loop of Airflow 3.4 one name stands for many task instances: nothing is started there.

tests/system/test_task_loops.py sees that with a loop of Airflow's own; here the fake says that there is one.
"""

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2
from airflow_runctl.sandbox.client import Sandbox
from tests.unit.operators.tasks import FINAL, MODES, VENDORS, Tasks

pytestmark = [
    pytest.mark.usefixtures("brisk"),
    pytest.mark.skipif(IS_AIRFLOW_2, reason="task loops came with Airflow 3.4"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_start_in_a_task_loop_is_refused_and_says_why(tasks: Tasks, box: Sandbox, vendor: str, mode: str) -> None:
    tasks.fake.in_loop = True
    attempt = tasks.fake.run(tasks.start(vendor, deferrable=mode == "deferred"), retries=3)
    assert attempt.state == FINAL
    assert "'start' is inside a task loop. There Airflow has one name for the task instances of all passes" in (
        attempt.said
    )
    assert "Nothing was started. Expand the operator over a list instead" in attempt.said
    assert box.requests() == []


def test_what_starts_nothing_works_in_a_task_loop(tasks: Tasks, box: Sandbox) -> None:
    from airflow_runctl.operators.snaplogic import SnapLogicStopTaskOperator

    started = tasks.leave_running()
    tasks.fake.in_loop = True
    with tasks.fake.dag():
        stop = SnapLogicStopTaskOperator(task_id="stop", external_run=started)
    attempt = tasks.fake.run(stop)
    assert attempt.state == "success", attempt.said
    assert box.open_runs() == []
