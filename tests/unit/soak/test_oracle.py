"""The oracle catches each sin in a history that was made up, and takes what has a cause for none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.soak.history import Attempt, DagRun, Event, History, Run
from tests.soak.oracle import FAILED, LEFT_ALIVE, NOT_OVER, STOPPED, SUCCEEDED, TWO, Verdict, judge, table

BEGAN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


DAG_RUN = DagRun("s001", "plain", "axiom", "success", queued=at(0), ended=at(60))
WORKER = Attempt("id-1", "s001-worker", "s001", "worker", 1, False, "success", at(1), at(5), at(55), pid=77)
SOME_TRY = replace(WORKER, state="removed")
"""One of whose end no rule says anything: for tests of what became of its run."""

RUN = Run("r-1", "axiom", "s001-worker", "Success", False, created=at(8), ended=at(53))


def judged(
    *events: Event,
    dag_run: DagRun = DAG_RUN,
    attempts: Sequence[Attempt] = (SOME_TRY,),
    runs: Sequence[Run] = (RUN,),
) -> Verdict:
    return judge(History(events, [dag_run], attempts, runs))


def sins(verdict: Verdict) -> list[str]:
    return [finding.sin for finding in verdict.sins]


FAILED_TRY = replace(WORKER, state="failed", ended=at(30))
STOPPED_RUN = replace(RUN, state="Failure", stop_asked=at(30), ended=at(31))
OPEN_RUN = replace(RUN, state="Running", is_open=True, ended=None)


def test_a_good_history_has_no_sin() -> None:
    verdict = judged(attempts=[WORKER])
    assert (sins(verdict), verdict.gaps) == ([], [])


# A task that failed.


def test_task_that_failed_without_a_cause_is_caught() -> None:
    assert sins(judged(attempts=[FAILED_TRY])) == [FAILED]


@pytest.mark.parametrize(
    "event",
    [
        Event(at(30), "kill-task", attempts=("id-1",)),
        Event(at(30), "kill", "worker-1", pids=(76, 77)),
        Event(at(29), "clear", owner="s001-worker"),
        Event(at(29), "mark-failed", owner="s001-worker", until=at(30)),
        Event(at(29), "fail-dag-run", dag_run="s001"),
        Event(at(10), "airflow-away", until=at(25)),
    ],
    ids=lambda event: event.kind,
)
def test_task_that_failed_with_a_cause_is_no_sin(event: Event) -> None:
    assert sins(judged(event, attempts=[FAILED_TRY])) == []


@pytest.mark.parametrize(
    "event",
    [
        Event(at(30), "kill-task", attempts=("id-2",)),
        Event(at(30), "kill", "worker-1", pids=(78,)),
        Event(at(30), "kill", "triggerer", pids=(12,)),
        Event(at(5), "stall", "triggerer", until=at(30)),
        Event(at(30), "kill", "scheduler"),
        Event(at(35), "clear", owner="s001-worker"),
        Event(at(29), "clear", owner="s001-deferred"),
        Event(at(29), "fail-dag-run", dag_run="s002"),
        Event(at(10), "vendor-away", "snaplogic", until=at(30)),
    ],
    ids=lambda event: f"{event.kind} {event.target}",
)
def test_what_happens_to_others_and_what_tasks_live_through_is_no_cause(event: Event) -> None:
    assert sins(judged(event, attempts=[FAILED_TRY])) == [FAILED]


def test_the_clear_that_made_a_try_does_not_explain_its_failure() -> None:
    clear = Event(at(0.5), "clear", owner="s001-worker", until=at(1.5))
    assert sins(judged(clear, attempts=[FAILED_TRY])) == [FAILED]


def test_vendor_that_is_away_explains_a_failed_start_and_not_the_loss_of_a_run_that_was_watched() -> None:
    away = Event(at(20), "vendor-away", "axiom", until=at(80))
    assert sins(judged(away, attempts=[FAILED_TRY], runs=[])) == []
    assert sins(judged(away, attempts=[FAILED_TRY])) == [FAILED]


def test_limits_and_deadlines_explain_a_failure_once_they_have_passed() -> None:
    limits, deadline = replace(DAG_RUN, kind="limits"), replace(DAG_RUN, kind="deadline")
    assert sins(judged(dag_run=limits, attempts=[FAILED_TRY])) == [FAILED]
    assert sins(judged(dag_run=limits, attempts=[replace(FAILED_TRY, ended=at(36))])) == []
    assert sins(judged(dag_run=deadline, attempts=[FAILED_TRY])) == [FAILED]
    assert sins(judged(dag_run=deadline, attempts=[replace(FAILED_TRY, ended=at(46))])) == []


# A run that was stopped.


def test_run_stopped_without_a_cause_is_caught() -> None:
    assert sins(judged(runs=[STOPPED_RUN])) == [STOPPED]


def test_stop_of_a_run_that_had_ended_is_no_sin() -> None:
    assert sins(judged(runs=[replace(RUN, stop_asked=at(54))])) == []


@pytest.mark.parametrize("kind", ["clear", "mark-failed", "mark-success"])
def test_run_stopped_for_a_person_is_no_sin(kind: str) -> None:
    assert sins(judged(Event(at(29), kind, owner="s001-worker"), runs=[STOPPED_RUN])) == []
    # While the start was in flight; then before it; then after the stop.
    assert sins(judged(Event(at(6), kind, owner="s001-worker"), runs=[STOPPED_RUN])) == []
    assert sins(judged(Event(at(2), kind, owner="s001-worker"), runs=[STOPPED_RUN])) == [STOPPED]
    assert sins(judged(Event(at(31), kind, owner="s001-worker"), runs=[STOPPED_RUN])) == [STOPPED]


@pytest.mark.parametrize(
    "event",
    [
        Event(at(29), "kill", "triggerer", pids=(12,)),
        Event(at(5), "stall", "triggerer", until=at(30)),
        Event(at(29), "restart-database", "postgresql", until=at(35)),
        Event(at(10), "vendor-away", "axiom", until=at(70)),
    ],
    ids=lambda event: event.kind,
)
def test_run_stopped_because_something_else_was_lost_is_caught(event: Event) -> None:
    assert sins(judged(event, runs=[STOPPED_RUN])) == [STOPPED]


def test_kill_with_retries_left_does_not_explain_a_stop_but_restart_does() -> None:
    event = Event(at(25), "kill-task", attempts=("id-1",))
    lost = replace(WORKER, state="failed", ended=at(25))
    attempts = [lost, replace(SOME_TRY, id="id-2", number=2, started=at(29))]
    assert sins(judged(event, attempts=attempts, runs=[STOPPED_RUN])) == [STOPPED]
    restart = replace(DAG_RUN, kind="restart")
    assert sins(judged(event, dag_run=restart, attempts=attempts, runs=[STOPPED_RUN])) == []


def test_limits_deadlines_and_the_end_of_the_dag_run_explain_a_stop_once_they_have_come() -> None:
    for kind, owner, moment in [
        ("limits", "s001-worker", 35.0),
        ("limits", "s001-deferred", 28.0),
        ("deadline", "s001-worker", 45.0),
        ("released", "s001-released", 60.0),
    ]:
        dag_run, attempt = replace(DAG_RUN, kind=kind), replace(SOME_TRY, owner=owner)
        for seconds, wanted in ((moment - 2, [STOPPED]), (moment + 0.1, [])):
            run = replace(STOPPED_RUN, owner=owner, stop_asked=at(seconds), ended=at(seconds + 1))
            assert sins(judged(dag_run=dag_run, attempts=[attempt], runs=[run])) == wanted, (kind, owner, seconds)


def test_clear_lets_a_deadline_count_anew() -> None:
    dag_run = replace(DAG_RUN, kind="deadline")
    clear = Event(at(20), "clear", owner="s001-deferred")
    for seconds, wanted in ((50, [STOPPED]), (66, [])):
        run = replace(STOPPED_RUN, stop_asked=at(seconds), ended=at(seconds + 1))
        dag_run = replace(dag_run, ended=at(90))
        assert sins(judged(clear, dag_run=dag_run, runs=[run])) == wanted


def test_clear_that_took_until_after_the_deadline_may_have_come_too_late_for_it() -> None:
    """Seen: Airflow took 17 s for the request, and the deadline passed meanwhile."""
    dag_run = replace(DAG_RUN, kind="deadline", ended=at(90))
    run = replace(STOPPED_RUN, stop_asked=at(47), ended=at(48))
    for until, wanted in ((40, [STOPPED]), (46, [])):
        clear = Event(at(29), "clear", owner="s001-deferred", until=at(until))
        assert sins(judged(clear, dag_run=dag_run, runs=[run])) == wanted


def test_deadline_that_had_passed_before_a_clear_explains_nothing_of_the_try_after_it() -> None:
    """Seen: the try after the clear took the end of the run that the deadline had stopped for that of its own."""
    clear = Event(at(54), "clear", owner="s001-worker", until=at(54.5))
    first = replace(WORKER, state="failed", ended=at(54.2))
    second = replace(WORKER, id="id-2", number=2, state="failed", queued=at(58), ended=at(66))
    dag_run = replace(DAG_RUN, kind="deadline", ended=at(70))
    assert sins(judged(clear, dag_run=dag_run, attempts=[first, second])) == [FAILED]


def test_task_that_fails_for_a_reason_of_its_own_may_stop_its_run() -> None:
    away = Event(at(20), "airflow-away", until=at(28))
    verdict = judged(away, attempts=[FAILED_TRY], runs=[STOPPED_RUN])
    assert sins(verdict) == []
    assert list(verdict.stops) == ["its task failed: Airflow's API or database was away"]


def test_run_that_nobody_knows_and_that_is_stopped_is_caught() -> None:
    assert sins(judged(runs=[replace(STOPPED_RUN, owner="foreign")])) == [STOPPED]


# A task that succeeded.


def test_task_that_succeeded_without_the_good_end_of_its_run_is_caught() -> None:
    for run in (replace(RUN, state="Failure"), replace(RUN, ended=at(58)), replace(RUN, owner="s001-deferred")):
        assert sins(judged(attempts=[WORKER], runs=[run])) == [SUCCEEDED]
    marked = Event(at(54), "mark-success", owner="s001-worker")
    assert sins(judged(marked, attempts=[WORKER], runs=[replace(RUN, state="Failure")])) == []
    assert sins(judged(attempts=[replace(WORKER, task="released")], runs=[replace(RUN, state="Failure")])) == []


# Two at once.


def test_two_runs_of_one_attempt_at_once_are_caught() -> None:
    assert sins(judged(runs=[RUN, replace(RUN, id="r-2", created=at(40), ended=at(54))])) == [TWO]
    assert sins(judged(runs=[RUN, replace(RUN, id="r-2", created=at(54), ended=at(58))])) == []
    assert sins(judged(runs=[RUN, replace(RUN, id="r-2", owner="s001-deferred", created=at(40))])) == []


# A run that was left.


def test_run_left_alive_is_caught() -> None:
    assert sins(judged(runs=[OPEN_RUN])) == [LEFT_ALIVE]


def test_run_of_a_lost_last_try_is_left_for_the_sweep_only_in_a_dag_without_callbacks() -> None:
    event = Event(at(30), "kill-task", attempts=("id-1",))
    for kind, wanted, gaps in (("plain", [LEFT_ALIVE], 0), ("bare", [], 1)):
        verdict = judged(event, dag_run=replace(DAG_RUN, kind=kind), attempts=[FAILED_TRY], runs=[OPEN_RUN])
        assert (sins(verdict), len(verdict.gaps)) == (wanted, gaps)


def test_run_without_a_cause_is_no_gap_even_in_a_dag_without_callbacks() -> None:
    assert sins(judged(dag_run=replace(DAG_RUN, kind="bare"), runs=[OPEN_RUN])) == [LEFT_ALIVE]


def test_dag_run_that_never_ends_is_told() -> None:
    assert sins(judged(dag_run=replace(DAG_RUN, state="running", ended=None))) == [NOT_OVER]


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    event = Event(at(30), "kill", "worker-1", attempts=("id-1",), pids=(1, 2))
    history = History([event], [DAG_RUN], [FAILED_TRY], [STOPPED_RUN, OPEN_RUN])
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history


def test_the_table_names_each_sin() -> None:
    history = History([], [DAG_RUN], [FAILED_TRY], [STOPPED_RUN, OPEN_RUN])
    text = "\n".join(table(history, judge(history)))
    for sin in (FAILED, STOPPED, LEFT_ALIVE):
        assert f"SIN  {sin}: s001-worker" in text
