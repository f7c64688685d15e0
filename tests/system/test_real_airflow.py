"""The harness itself: what the other system tests take for granted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from airflow_runctl.sandbox.client import eventually
from demo.real_airflow import AirflowApiError, RealAirflow, RealAirflowError

DAGS = Path(__file__).parent / "dags"
DEFERRED = ("harness_deferred", "wait")


def lives(pid: int) -> bool:
    """A zombie does not: whoever has to reap it may take its time."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_trivial_dag_runs_and_its_facts_can_be_read(airflow: RealAirflow):
    run_id = airflow.trigger("harness", conf={"why": "test"})
    assert airflow.wait_for_dag_run("harness", run_id) == "success"

    assert airflow.task_states("harness", run_id) == {f"double[{n}]": "success" for n in range(3)}
    assert airflow.xcom("harness", run_id, "double", map_index=2) == 6
    assert airflow.xcom_keys("harness", run_id, "double", map_index=1) == ["return_value"]
    assert airflow.xcom_tasks("harness", run_id, "return_value") == [("double", n) for n in range(3)]
    assert "Returned value was: 4" in airflow.task_log("harness", run_id, "double", map_index=1)
    assert airflow.rendered_fields("harness", run_id, "double", 0)["op_kwargs"] == {"number": 1}
    assert airflow.task_state_store("harness", run_id, "double", 0) == {}
    assert airflow.extra_links("harness", run_id, "double", 0) == {}
    assert airflow.import_errors() == {}


def test_an_xcom_can_be_created_and_changed_by_hand(airflow: RealAirflow):
    run_id = airflow.trigger("harness")
    assert airflow.wait_for_dag_run("harness", run_id) == "success"

    for value in ({"forged": 1}, ["changed"]):
        airflow.set_xcom("harness", run_id, "double", "by_hand", value, map_index=1)
        assert airflow.xcom("harness", run_id, "double", "by_hand", map_index=1) == value


def test_a_task_process_is_found_and_killed_and_its_task_fails(airflow: RealAirflow):
    run_id = airflow.trigger("harness_sleep")
    pid = airflow.task_process("harness_sleep", run_id, "sleep")
    supervisor = airflow.task_supervisor("harness_sleep", run_id, "sleep")
    assert airflow.task_instance("harness_sleep", run_id, "sleep")["pid"] == pid
    assert psutil.Process(pid).ppid() == supervisor
    # On 2.11 a supervisor has one task only and ends with it; what has forked it stays.
    (worker,) = [process for process in psutil.Process(pid).parents() if process.ppid() == airflow.pid("scheduler")]

    os.kill(pid, signal.SIGKILL)

    airflow.wait_for(lambda: airflow.task_state("harness_sleep", run_id, "sleep") == "failed", "the task to fail", 60)
    assert lives(worker.pid)


def test_marking_and_clearing_do_what_the_buttons_do(airflow: RealAirflow):
    run_id = airflow.trigger("harness_sleep")
    first = airflow.task_process("harness_sleep", run_id, "sleep")
    airflow.mark_task("harness_sleep", run_id, "sleep", "failed")
    airflow.wait_for(lambda: not lives(first), "the marked task's process to end", 60)

    airflow.clear_task("harness_sleep", run_id, "sleep")
    assert airflow.task_process("harness_sleep", run_id, "sleep") != first
    airflow.mark_dag_run("harness_sleep", run_id, "failed")
    assert airflow.dag_run_state("harness_sleep", run_id) == "failed"
    assert airflow.task_states("harness_sleep", run_id) == {"sleep": "failed"}


def test_a_paused_dag_waits_and_a_cleared_dag_run_runs_again(airflow: RealAirflow):
    airflow.unpause("harness", paused=True)
    run_id = airflow.trigger("harness")
    assert airflow.dag_run_state("harness", run_id) == "queued"
    airflow.unpause("harness")
    assert airflow.wait_for_dag_run("harness", run_id) == "success"

    airflow.clear_dag_run("harness", run_id)
    assert airflow.wait_for_dag_run("harness", run_id) == "success"
    assert {row["try_number"] for row in airflow.task_instances("harness", run_id)} == {2}


def test_a_deferred_task_survives_a_killed_triggerer(airflow: RealAirflow):
    dag_id, task_id = DEFERRED
    run_id = airflow.trigger(dag_id, conf={"seconds": 15})
    airflow.triggerer_of(dag_id, run_id, task_id)

    airflow.kill("triggerer")
    assert not [row for row in airflow.process_table() if row.component == "triggerer"]
    assert airflow.task_state(dag_id, run_id, task_id) == "deferred"
    airflow.start("triggerer")

    # The new one takes over what the old one had when that has not been heard of for 30 s.
    assert airflow.wait_for_dag_run(dag_id, run_id) == "success"
    assert airflow.xcom(dag_id, run_id, task_id) == "marker-in-the-result"


def test_texts_show_what_was_and_is_no_more(airflow: RealAirflow):
    dag_id, _ = DEFERRED
    run_id = airflow.trigger(dag_id, conf={"seconds": 1})
    assert airflow.wait_for_dag_run(dag_id, run_id) == "success"

    texts = list(airflow.texts())

    def where(text: str) -> set[str]:
        return {place for place, shown in texts if text in shown}

    # The trigger is gone by now; its arguments were encrypted; its event went into next_kwargs.
    assert "trigger.kwargs (history)" in where("marker-in-the-arguments")
    assert "task_instance.next_kwargs (history)" in where("marker-in-the-event")
    assert {"xcom.value", "xcom.value (history)"} <= where("marker-in-the-result")
    assert "rendered_task_instance_fields.rendered_fields" in where("marker-in-a-field")
    assert {place for place in where("marker-in-the-log") if place.startswith("logs/dag_id=")}


def test_an_unknown_dag_is_an_error_at_once(airflow: RealAirflow):
    with pytest.raises(AirflowApiError, match="404"):
        airflow.trigger("no_such_dag")


def test_waiting_in_vain_shows_the_logs(airflow: RealAirflow):
    with pytest.raises(RealAirflowError, match=r"in vain for nothing(.|\n)*--- components/"):
        airflow.wait_for(lambda: False, "nothing", 0.5)


def test_close_leaves_nothing(airflow_database: str | None, importable: dict[str, str]):
    """Also a task that is just running, and a component that is stopped."""
    with RealAirflow(dag_folders=[DAGS], environment=importable, database=airflow_database) as own:
        run_id = own.trigger("harness_sleep")
        pids = {own.task_process("harness_sleep", run_id, "sleep")}
        pids |= {row.pid for row in own.process_table()}
        own.kill("dag-processor", signal.SIGSTOP)
    assert own.leftovers() == []
    assert not [pid for pid in pids if lives(pid)]
    own.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_harness_is_ended_while_airflow_boots(
    number: signal.Signals, airflow_database: str | None
):
    script = f"""if True:
        from demo.real_airflow import RealAirflow
        own = RealAirflow(database={airflow_database!r})
        print(own.home, own.metadata.url, flush=True)
        own.boot()
    """
    root = Path(__file__).parents[2]
    harness = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    assert harness.stdout is not None
    folder, database = harness.stdout.readline().split()
    home = Path(folder)
    eventually((home / "components" / "triggerer.log").exists, 180)
    pids = [process.pid for process in psutil.Process(harness.pid).children(recursive=True)]
    assert len(pids) >= 4

    harness.send_signal(number)

    assert harness.wait(120) != 0
    eventually(lambda: not home.exists() and not any(map(lives, pids)), 120)
    if airflow_database:
        with pytest.raises(OperationalError, match="does not exist"):
            create_engine(database).connect()
