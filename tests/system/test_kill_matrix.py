"""Every way in which a task stops watching its run, on a real Airflow: what becomes of the run at the vendor.

The rows are those of docs/explanation/kill-matrix.md. A row takes all its vendors in both modes at once: all four with
``--vendors=all``, else one for each mode, another from row to row. What came of it is printed as a table when the
tests are over.
"""

import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from airflow_runctl.sandbox.client import Sandbox
from demo.real_airflow import RealAirflow, RealAirflowError
from demo.release import RELEASE
from tests.system.cases import Case, Cases, MatrixLine
from tests.system.versions import (
    AIRFLOW,
    each_version,
    essential,
    needs_clears_that_forget,
    needs_deadlines,
    needs_task_store,
)

VENDORS = ("snaplogic", "axiom", "vectorshift", "bctrl")
MODES = ("worker", "deferred")
LIMIT = 15.0
"""Seconds of every limit in importable/vendor_tasks.py."""

DAG_RUN_LIMIT = 60.0

WITHIN = 120.0
"""Seconds after an event in which a row waits for the stop; what it took is measured."""


def turns(mode: str) -> Iterator[str]:
    """Yield the vendors in turn; the modes of a row have different ones."""
    shift = 2 * MODES.index(mode)
    return itertools.cycle(VENDORS[shift:] + VENDORS[:shift])


@dataclass
class Matrix:
    """Runs rows, and keeps what came of them."""

    airflow: RealAirflow
    cases: Cases
    lines: list[MatrixLine]
    all_vendors: bool
    bystanders: list[Any] = field(default_factory=list)
    waiting: dict[str, dict[tuple[str, str], Any]] = field(default_factory=dict)
    """Cases that were started ahead, since all that they do is to wait for a limit; by kind."""

    _turns: dict[str, Iterator[str]] = field(default_factory=lambda: {mode: turns(mode) for mode in MODES})

    def start(
        self, kind: str, modes: Sequence[str] = MODES, vendors: Sequence[str] = VENDORS, **behaviour: Any
    ) -> dict[tuple[str, str], Any]:
        """Start a case for each mode and vendor, or for each mode and the vendor whose turn it is."""
        if kind in self.waiting and not behaviour:
            return self.waiting.pop(kind)
        return {
            (vendor, mode): self.cases.start(f"{kind}_{vendor}_{mode}", vendor, **behaviour)
            for mode in modes
            for vendor in (vendors if self.all_vendors or len(vendors) == 1 else [next(self._turns[mode])])
        }

    def start_ahead(self, kinds: Sequence[str]) -> None:
        """Start what only waits for a limit; of all vendors at once that would be too much."""
        if not self.all_vendors:
            self.waiting = {kind: self.start(kind) for kind in kinds}

    def watched(self, kind: str, modes: Sequence[str] = MODES, **more: Any) -> dict[tuple[str, str], Any]:
        """Start cases and wait until each run is recorded and its task watches it."""
        cases = self.start(kind, modes, **more)
        self.until_watched(cases)
        return cases

    def until_watched(self, cases: dict[tuple[str, str], Any]) -> None:
        """Wait until each run is recorded and its task, or its trigger, watches it."""
        for (_, mode), case in cases.items():
            case.wait_for_handle()
            case.wait_for_state("deferred" if mode == "deferred" else "running")
        for (_, mode), case in cases.items():
            if mode == "deferred":
                self.airflow.triggerer_of(case.dag_id, case.run_id, "run")

    def until_started(self, cases: dict[tuple[str, str], Any]) -> None:
        """Wait until each run has come to be; its handle may be gone when one looks, on a busy machine."""
        for case in cases.values():
            self.airflow.wait_for(case.runs, f"a run of {case.dag_id}", 120)

    def stopped(self, row: str, cases: dict[tuple[str, str], Any], since: Any = None) -> None:
        """Wait until every run of ``cases`` is over, and say how long that took since an event."""
        self._settle(cases, lambda case: bool(case.runs()) and case.open() == 0)
        wrong = self.wrong_stops()
        for (vendor, mode), case in cases.items():
            self.lines.append((row, mode, vendor, case.open(), wrong, _seconds(case, since)))
        assert {key: case.open() for key, case in cases.items()} == dict.fromkeys(cases, 0)
        assert all(case.runs() for case in cases.values())
        assert wrong == 0

    def undisturbed(self, row: str, cases: dict[tuple[str, str], Any], end_states: dict[str, str]) -> None:
        """End the runs at their vendors; each must not have been stopped and its task must end well."""
        for (vendor, _), case in cases.items():
            assert case.open() == 1, f"{vendor}: {case.runs()}"
            case.sandbox.set_run(case.runs()[0]["run_id"], state=end_states[vendor])
        for case in cases.values():
            assert case.wait_until_over() == "success", case.log()
        for (vendor, mode), case in cases.items():
            wrong = case.stop_requests() + self.wrong_stops()
            self.lines.append((row, mode, vendor, case.open(), wrong, "lives on"))
            assert wrong == 0
            assert len(case.runs()) == 1

    def wrong_stops(self) -> int:
        """How often a run was asked to stop that has nothing to do with any row."""
        return sum(case.stop_requests() for case in self.bystanders)

    def dismiss_bystanders(self) -> None:
        """Let the bystanders end well, before a fault that would hit them too."""
        for case in self.bystanders:
            run = case.runs()[0]
            assert run["open"], "a run was stopped that should live"
            assert run["stop_requests"] == 0
            case.sandbox.set_run(run["run_id"], state=SUCCESS[run["vendor"]])
        self.bystanders.clear()

    def _settle(self, cases: dict[tuple[str, str], Any], done: Callable[[Any], bool]) -> None:
        until = time.monotonic() + WITHIN
        while time.monotonic() < until and not all(done(case) for case in cases.values()):
            time.sleep(0.3)


ONLY_WAITS = ("timeout", "runtime", "dagrun_timeout", *(["deadline"] if RELEASE.has_deadlines else []))
"""Kinds whose cases need nothing but a limit to pass."""

SUCCESS = {"snaplogic": "Completed", "axiom": "Success", "vectorshift": "completed", "bctrl": "succeeded"}


def _seconds(case: Any, since: Any) -> str:
    """The time from an event (a Unix time, or a function of the case) to the end of the last run."""
    if since is None:
        return "-"
    run = case.runs()[-1]
    if not run["ended_at"]:
        return "never"
    began = since(case) if callable(since) else since
    return f"{_time(run['ended_at']) - began:.1f}"


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _task(case: Any) -> dict[str, Any]:
    return case.airflow.task_instance(case.dag_id, case.run_id, "run")


def _dag_run(case: Any) -> dict[str, Any]:
    return case.airflow.dag_run(case.dag_id, case.run_id)


@pytest.fixture(scope="module")
def matrix(
    airflow: RealAirflow, cases: Cases, matrix_lines: list[MatrixLine], request: pytest.FixtureRequest
) -> Iterator[Matrix]:
    """The matrix, with a bystander of each vendor that must live through all rows."""
    made = Matrix(airflow, cases, matrix_lines, request.config.getoption("vendors") == "all")
    made.start_ahead(ONLY_WAITS)
    for vendor in VENDORS:
        made.bystanders += made.start("plain", modes=["deferred"], vendors=[vendor]).values()
    for case in made.bystanders:
        case.wait_for_state("deferred")
    yield made
    made.dismiss_bystanders()


# -- rows 1 to 3: limits -----------------------------------------------------------------------------------


@each_version
@essential
def test_row_1_and_2_execution_timeout(matrix: Matrix):
    cases = matrix.start("timeout")
    matrix.until_started(cases)

    matrix.stopped("1, 2 execution_timeout", cases, lambda case: _time(_task(case)["start_date"]) + LIMIT)

    for case in cases.values():
        assert case.wait_for_state("failed") == "failed"
        assert "execution_timeout passed" in case.log()


@each_version
@essential
def test_row_2_max_runtime(matrix: Matrix):
    cases = matrix.start("runtime")
    matrix.until_started(cases)

    matrix.stopped("2 max_runtime", cases, lambda case: _time(case.runs()[-1]["created_at"]) + LIMIT)

    for case in cases.values():
        case.wait_for_state("failed")
        assert "took longer than max_runtime" in case.log()


@each_version
@essential
def test_row_3_a_time_out_of_the_deferral_from_elsewhere(matrix: Matrix):
    cases = matrix.watched("plain", modes=["deferred"])
    engine = sqlalchemy.create_engine(matrix.airflow.metadata.url)
    table = sqlalchemy.table("task_instance", sqlalchemy.column("run_id"), sqlalchemy.column("trigger_timeout"))
    began = time.time()
    with engine.begin() as connection:
        for case in cases.values():
            past = datetime.now(UTC) - timedelta(seconds=1)
            statement = sqlalchemy.update(table).where(table.c.run_id == case.run_id).values(trigger_timeout=past)
            assert connection.execute(statement).rowcount == 1
    engine.dispose()

    matrix.stopped("3 deferral timed out", cases, began)

    for case in cases.values():
        case.wait_for_state("failed")


# -- rows 4 to 7: kills ------------------------------------------------------------------------------------


def _clear(airflow: RealAirflow, case: Any) -> None:
    airflow.clear_task(case.dag_id, case.run_id, "run")


USER_ACTIONS: dict[str, Callable[[RealAirflow, Any], None]] = {
    "marked failed": lambda airflow, case: airflow.mark_task(case.dag_id, case.run_id, "run", "failed"),
    "marked success": lambda airflow, case: airflow.mark_task(case.dag_id, case.run_id, "run", "success"),
    "Dag run failed": lambda airflow, case: airflow.mark_dag_run(case.dag_id, case.run_id, "failed"),
}


@pytest.mark.parametrize(
    "action", [pytest.param("marked failed", marks=[essential, each_version]), "marked success", "Dag run failed"]
)
def test_row_4_and_5_a_user(matrix: Matrix, action: str):
    cases = matrix.watched("plain")
    began = time.time()
    for case in cases.values():
        USER_ACTIONS[action](matrix.airflow, case)

    matrix.stopped(f"4, 5 {action}", cases, began)


@each_version
@essential
def test_row_4_and_5_a_clear_stops_the_run_and_starts_another(matrix: Matrix):
    cases = matrix.watched("plain", stop_seconds=3)
    began = time.time()
    for case in cases.values():
        matrix.airflow.clear_task(case.dag_id, case.run_id, "run")
    for case in cases.values():
        matrix.airflow.wait_for(lambda case=case: len(case.runs()) == 2, f"the new run of {case.dag_id}", 120)

    for (vendor, mode), case in cases.items():
        first, second = case.runs()
        matrix.airflow.wait_for(lambda case=case: not case.runs()[0]["open"], f"the end of {first['run_id']}", 60)
        first = case.runs()[0]
        # Below 3.3 the new attempt knows of no run before it, and does not wait for its end.
        if AIRFLOW >= (3, 3):
            assert datetime.fromisoformat(first["ended_at"]) <= datetime.fromisoformat(second["created_at"])
        took = datetime.fromisoformat(first["ended_at"]).timestamp() - began
        matrix.lines.append(("4, 5 cleared", mode, vendor, 0, matrix.wrong_stops(), f"{took:.1f}"))
    matrix.until_watched(cases)
    for case in cases.values():
        matrix.airflow.mark_task(case.dag_id, case.run_id, "run", "failed")
    for case in cases.values():
        case.wait_until_stopped()


@each_version
@essential
def test_row_5_a_mark_between_start_and_defer(matrix: Matrix, tmp_path: Path):
    """Airflow refuses the deferral and kills nobody, unless its next heartbeat comes before."""
    go = tmp_path / "go"
    case = matrix.cases.start("marked_before_deferral", "snaplogic", conf={"go": str(go)})
    case.wait_for_handle()
    began = time.time()
    matrix.airflow.mark_task(case.dag_id, case.run_id, "run", "failed")
    go.touch()

    matrix.stopped("5 marked between start and defer", {("snaplogic", "deferred"): case}, began)


@each_version
@essential
def test_row_6_dagrun_timeout(matrix: Matrix):
    cases = matrix.start("dagrun_timeout")
    matrix.until_started(cases)

    matrix.stopped("6 dagrun_timeout", cases, lambda case: _time(_dag_run(case)["start_date"]) + DAG_RUN_LIMIT)


@each_version
@essential
def test_row_7_sigterm_to_the_worker(matrix: Matrix):
    cases = matrix.watched("plain", modes=["worker"])
    began = time.time()
    for case in cases.values():
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGTERM)

    matrix.stopped("7 SIGTERM", cases, began)

    for case in cases.values():
        case.wait_for_state("failed")
        assert "The task was killed" in case.log()


@each_version
def test_row_7_sigterm_while_a_start_is_in_flight(matrix: Matrix):
    """SnapLogic's trigger call is open and lists its run only after 3 s: the kill comes before that."""
    cases = matrix.start("plain", modes=["worker"], vendors=["snaplogic"], list_delay_seconds=3)
    for case in cases.values():
        matrix.airflow.wait_for(case.runs, "the start", 60)
    began = time.time()
    for case in cases.values():
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGTERM)

    matrix.stopped("7 SIGTERM during the start", cases, began)


# -- row 8: lost ---------------------------------------------------------------------------------------------


@needs_task_store
@essential
def test_row_8a_the_task_process_is_killed_and_a_retry_reattaches(matrix: Matrix):
    cases = matrix.watched("retry", modes=["worker"])
    for case in cases.values():
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    for case in cases.values():
        matrix.airflow.wait_for(
            lambda case=case: matrix.airflow.task_instance(case.dag_id, case.run_id, "run")["try_number"] == 2,
            "the second try",
            60,
        )
        case.wait_for_handle()

    matrix.undisturbed("8a SIGKILL, retry reattaches", cases, SUCCESS)


@needs_task_store
def test_row_8a_killed_before_the_record_and_the_retry_finds_the_run(matrix: Matrix):
    """The process dies while SnapLogic's call is open: only the write-ahead record tells of the run."""
    cases = matrix.start("retry", vendors=["snaplogic"], list_delay_seconds=4)
    for case in cases.values():
        matrix.airflow.wait_for(case.runs, "the start", 60)
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    for case in cases.values():
        case.wait_for_handle()

    matrix.undisturbed("8a SIGKILL before the record", cases, SUCCESS)


@essential
def test_row_8a_on_the_last_try_the_dag_run_s_end_stops_it(matrix: Matrix):
    cases = matrix.watched("netted", modes=["worker"])
    began = time.time()
    for case in cases.values():
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)

    matrix.stopped("8a SIGKILL, last try", cases, began)


@pytest.mark.parametrize(("dag_id", "vendor"), [("long_branch", "snaplogic"), ("all_done_leaf", "axiom")])
def test_row_8a_with_a_dag_run_that_goes_on_or_ends_well(matrix: Matrix, dag_id: str, vendor: str):
    case = matrix.cases.start(dag_id, vendor)
    case.wait_for_handle()
    os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    ended = "failed" if dag_id == "long_branch" else "success"
    assert case.wait_until_over() == ended
    end = datetime.fromisoformat(matrix.airflow.dag_run(case.dag_id, case.run_id)["end_date"]).timestamp()

    matrix.stopped(f"8a {dag_id}, after the Dag run's end", {(vendor, "worker"): case}, end)


@essential
def test_row_8b_the_whole_worker_is_lost(matrix: Matrix):
    cases = matrix.watched("netted", modes=["worker"])
    began = time.time()
    for case in cases.values():
        supervisor = matrix.airflow.task_supervisor(case.dag_id, case.run_id, "run")
        process = matrix.airflow.task_process(case.dag_id, case.run_id, "run")
        os.kill(supervisor, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)

    matrix.stopped("8b worker lost", cases, began)


@needs_task_store
def test_row_8_mapped_tasks_whose_list_changed_inherit_no_run(matrix: Matrix, tmp_path: Path):
    names = tmp_path / "list"
    names.write_text("first")
    case = matrix.cases.start("mapped_retry", "axiom", names=("-one", "-two"), conf={"list": str(names)})
    names.write_text(f"{case.name}-one")
    case.wait_for_handle(map_index=0)
    pid = matrix.airflow.task_process(case.dag_id, case.run_id, "run", 0)
    names.write_text(f"{case.name}-two")
    os.kill(pid, signal.SIGKILL)
    matrix.airflow.clear_task(case.dag_id, case.run_id, "names", "run")

    matrix.airflow.wait_for(
        lambda: {run["name"] for run in case.runs() if run["open"]} == {f"{case.name}-two"},
        "only the new item's run",
        90,
    )
    matrix.airflow.mark_dag_run(case.dag_id, case.run_id, "failed")
    matrix.stopped("8 mapped list changed", {("axiom", "worker"): case})


# -- row 9: our own errors -------------------------------------------------------------------------------------


@essential
def test_row_9_an_error_of_our_own(matrix: Matrix):
    cases = matrix.start("own_error")
    for case in cases.values():
        case.wait_for_state("failed")

    matrix.stopped("9 own error", cases, lambda case: _time(_task(case)["end_date"]))

    for case in cases.values():
        assert "an error of our own" in case.log()


# -- rows 10 to 12: the triggerer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=essential)], ids=lambda n: n.name
)
def test_row_10_the_triggerer_goes_and_another_takes_over(matrix: Matrix, number: signal.Signals):
    cases = matrix.watched("plain", modes=["deferred"])
    before = {key: matrix.airflow.triggerer_of(case.dag_id, case.run_id, "run") for key, case in cases.items()}
    matrix.airflow.kill("triggerer", number)
    matrix.airflow.wait_for(lambda: "triggerer" not in matrix.airflow.sessions.running(), "the triggerer's end", 60)
    matrix.airflow.start("triggerer")
    for key, case in cases.items():
        matrix.airflow.wait_for(
            lambda case=case, key=key: matrix.airflow.triggerer_of(case.dag_id, case.run_id, "run") != before[key],
            "another triggerer to take over",
            90,
        )

    matrix.undisturbed(f"10 triggerer {number.name}", cases, SUCCESS)


@essential
def test_row_11_a_stalled_triggerer_recovers(matrix: Matrix):
    cases = matrix.watched("plain", modes=["deferred"])
    before = {key: matrix.airflow.triggerer_of(case.dag_id, case.run_id, "run") for key, case in cases.items()}
    matrix.airflow.start("triggerer-2")
    matrix.airflow.kill("triggerer", signal.SIGSTOP)
    for key, case in cases.items():
        matrix.airflow.wait_for(
            lambda case=case, key=key: matrix.airflow.triggerer_of(case.dag_id, case.run_id, "run") != before[key],
            "the second triggerer to take over",
            90,
        )
    matrix.airflow.kill("triggerer", signal.SIGCONT)

    if AIRFLOW >= (3, 4):  # it knows by itself that its triggers have moved
        what, said = "let its triggers go", "dropping it without on_kill"
        names = {case.run_id for case in cases.values()}
    else:
        what, said = "be told to kill", "nothing is stopped"
        names = {case.wait_for_handle()["run_id"] for case in cases.values()}

    def recovered() -> bool:
        lines = (line for _, text in matrix.airflow.texts() for line in text.splitlines())
        return any(said in line and any(name in line for name in names) for line in lines)

    matrix.airflow.wait_for(recovered, f"the recovered triggerer to {what}", 90)

    matrix.undisturbed("11 triggerer stalled", cases, SUCCESS)
    matrix.airflow.kill("triggerer-2", signal.SIGTERM)


CLEARS: dict[str, Callable[[RealAirflow, Case], Any]] = {
    "task": lambda airflow, case: airflow.clear_task(case.dag_id, case.run_id, "run"),
    "Dag run": lambda airflow, case: airflow.clear_dag_run(case.dag_id, case.run_id),
    "Dag run, forgetting": lambda airflow, case: (
        airflow.forget_task_states(case.dag_id, case.run_id, "run"),
        airflow.clear_dag_run(case.dag_id, case.run_id),
    ),
}
"""The last as Airflow 3.5 is said to do it: what its tasks have stored goes with the clear of a Dag run."""


@needs_task_store
@pytest.mark.parametrize(
    "clear",
    [
        pytest.param("task", marks=essential),
        "Dag run",
        pytest.param("Dag run, forgetting", marks=needs_clears_that_forget),
    ],
)
def test_row_12_a_clear_while_no_triggerer_is_alive(matrix: Matrix, clear: str):
    cases = matrix.watched("plain", modes=["deferred"])
    matrix.airflow.kill("triggerer", signal.SIGKILL)
    for case in cases.values():
        CLEARS[clear](matrix.airflow, case)
    for case in cases.values():
        matrix.airflow.wait_for(
            lambda case=case: "Attempt 1 left run" in case.log(try_number=2), "the second attempt to see the run", 120
        )
    matrix.airflow.start("triggerer")

    matrix.undisturbed(f"12 {clear} cleared, no triggerer", cases, SUCCESS)


@essential
def test_row_12_marked_failed_while_no_triggerer_is_alive(matrix: Matrix):
    """No trigger hears of it; what stops the run is the Dag-level callback, at the end of the Dag run."""
    cases = matrix.watched("netted", modes=["deferred"])
    matrix.airflow.kill("triggerer", signal.SIGKILL)
    began = time.time()
    for case in cases.values():
        matrix.airflow.mark_task(case.dag_id, case.run_id, "run", "failed")

    matrix.stopped("12 marked failed, no triggerer", cases, began)
    matrix.airflow.start("triggerer")


# -- row 13: deadlines -------------------------------------------------------------------------------------------


@each_version
@needs_deadlines
@essential
def test_row_13_deadline(matrix: Matrix):
    cases = matrix.start("deadline")
    matrix.until_started(cases)

    matrix.stopped("13 deadline", cases, lambda case: _time(_dag_run(case)["queued_at"]) + LIMIT)

    for case in cases.values():
        assert case.wait_until_over() == "failed"
        assert len(case.runs()) == 1


@each_version
@needs_deadlines
@essential
def test_row_13_the_triggerer_is_killed_in_the_middle_of_the_callback(matrix: Matrix):
    cases = matrix.start("deadline", modes=["worker"], stop_seconds=12)
    for case in cases.values():
        matrix.airflow.wait_for(case.stop_requests, "the first request to stop", 90)
    matrix.airflow.kill("triggerer", signal.SIGKILL)
    matrix.airflow.start("triggerer")

    matrix.stopped("13 callback's triggerer killed", cases)

    for case in cases.values():
        assert case.wait_until_over() == "failed"
        assert len(case.runs()) == 1, "a retry started the run again"


# -- row 14: a vendor that answers badly ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["status", pytest.param("garbage", marks=essential), "cut"])
def test_row_14_bad_answers_for_a_while_are_ridden_out(matrix: Matrix, sandbox: Sandbox, kind: str):
    cases = matrix.watched("plain")
    faults = [sandbox.fault(vendor, "status", kind) for vendor in VENDORS]
    began = time.monotonic()
    matrix.airflow.wait_for(lambda: time.monotonic() - began > 6, "the faults to be met", 30)
    assert faults
    sandbox.clear_faults()

    matrix.undisturbed(f"14 {kind} for a while", cases, SUCCESS)


# -- clears and resumes --------------------------------------------------------------------------------------------


def test_a_clear_of_a_succeeded_task_starts_a_new_run(matrix: Matrix):
    # Longer than a heartbeat: LocalExecutor may take a task that goes on sooner after its deferral for killed.
    cases = matrix.start("plain", run_seconds=5)
    for case in cases.values():
        assert case.wait_until_over() == "success", case.log()
        matrix.airflow.clear_task(case.dag_id, case.run_id, "run")
    for case in cases.values():
        matrix.airflow.wait_for(lambda case=case: len(case.runs()) == 2, "a second run", 90)
        assert case.wait_until_over() == "success", case.log()
        assert case.stop_requests() == 0


@needs_task_store
@pytest.mark.parametrize("mode", MODES)
def test_a_retry_resumes_a_suspended_run(matrix: Matrix, mode: str):
    case = matrix.cases.start(f"resume_snaplogic_{mode}", "snaplogic", suspend_after_seconds=1, run_seconds=2)

    assert case.wait_until_over() == "success"

    assert [(run["state"], run["resume_requests"]) for run in case.runs()] == [("Completed", 1)]


def test_without_a_retry_a_suspended_run_is_stopped(matrix: Matrix):
    cases = matrix.start("plain", vendors=["snaplogic"], suspend_after_seconds=1)

    matrix.stopped("9 suspended, no retry", cases)

    for case in cases.values():
        case.wait_for_state("failed")
        assert "suspended itself" in case.log()


@needs_task_store
def test_on_retry_restart_stops_what_was_left_and_starts_anew(matrix: Matrix):
    cases = matrix.watched("restart", modes=["worker"])
    for case in cases.values():
        os.kill(matrix.airflow.task_process(case.dag_id, case.run_id, "run"), signal.SIGKILL)
    for case in cases.values():
        matrix.airflow.wait_for(lambda case=case: len(case.runs()) == 2, "a second run", 90)
        assert [run["open"] for run in case.runs()] == [False, True]
        case.wait_for_handle()
        matrix.airflow.mark_task(case.dag_id, case.run_id, "run", "failed")

    matrix.stopped("8a restart, then marked failed", cases)


# -- row 14 again, last: these faults hit whatever is there -----------------------------------------------------------


@essential
def test_row_14_bad_answers_for_good_end_in_a_stop(matrix: Matrix, sandbox: Sandbox):
    matrix.dismiss_bystanders()
    cases = matrix.watched("plain")
    began = time.time()
    for vendor in VENDORS:
        sandbox.fault(vendor, "status", "status", status=500)
    try:
        matrix.stopped("14 bad answers for good", cases, began)
        for case in cases.values():
            case.wait_for_state("failed", timeout=180)
    finally:
        sandbox.clear_faults()


def test_row_14_a_vendor_that_takes_no_stop_either_is_said_plainly(matrix: Matrix, sandbox: Sandbox):
    cases = matrix.watched("plain", modes=["worker"], vendors=["snaplogic"])
    sandbox.fault("snaplogic", "any", "status", status=500)
    try:
        for case in cases.values():
            run_id = case.runs()[0]["run_id"]
            case.wait_for_state("failed", timeout=240)
            assert f"SnapLogic run {run_id} could not be stopped and may be alive." in case.log()
    finally:
        sandbox.clear_faults()
    for case in cases.values():
        case.sandbox.set_run(case.runs()[0]["run_id"], state="Stopped")


# -- what is left behind ---------------------------------------------------------------------------------------------


@needs_clears_that_forget
@each_version
@essential
def test_at_last_no_variable_is_left_of_a_run_that_is_over(matrix: Matrix, sandbox: Sandbox):
    """Of all the rows above, which ran in the same Airflow; what nobody saw end has a handle still."""

    def left() -> list[str]:
        kept = matrix.airflow.variables("airflow_runctl.")
        # A run at axiom.ai has no id: it goes by its name and a number.
        alive = {shown for run in sandbox.open_runs() for shown in (run["run_id"], run["name"])}
        return [
            f"{name}: {text}"
            for name, text in kept.items()
            if not alive & {*_names_in(text)} and "external_run" not in matrix.airflow.xcom_keys(*_task_in(name))
        ]

    with suppress(RealAirflowError):
        matrix.airflow.wait_for(lambda: not left(), "the records of all runs that are over to go", 60)
    assert left() == []


def _names_in(text: str) -> tuple[str, str]:
    run_id: str = json.loads(text)["run_id"]
    return run_id, run_id.partition(" #")[0]


def _task_in(description: str) -> list[str]:
    return description.removeprefix("airflow-runctl: a run of ").removesuffix(" that may be alive").split("/")
