"""A task loop of a real Airflow: nothing is started there, and the task's error says why."""

from tests.system.cases import Cases
from tests.system.versions import needs_task_loops


@needs_task_loops
def test_a_start_in_a_task_loop_is_refused(cases: Cases):
    case = cases.start("start_in_a_loop", "snaplogic")
    assert case.wait_until_over() == "failed"
    (states,) = {state for name, state in case.airflow.task_states(case.dag_id, case.run_id).items() if "run" in name}
    assert states == "failed"
    assert any("is inside a task loop" in text for name, text in case.airflow.texts() if case.dag_id in name)
    assert case.runs() == []
