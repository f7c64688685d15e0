"""The plan of a soak is a pure function of its seed and minutes, and a short one has something of everything."""

from tests.soak.dags import soak_limits
from tests.soak.plan import AWAY_SECONDS, COMPONENTS, KINDS, STALL_SECONDS, VENDORS, plan


def test_the_same_seed_makes_the_same_plan() -> None:
    assert plan(7, 20) == plan(7, 20)
    assert plan(7, 20) != plan(8, 20)


def test_a_longer_plan_begins_as_a_shorter_one() -> None:
    short, long = plan(3, 4), plan(3, 30)
    assert long.dag_runs[: len(short.dag_runs)] == short.dag_runs
    assert long.faults[: len(short.faults)] == short.faults


def test_a_plan_has_all_kinds_of_faults_and_dag_runs() -> None:
    made = plan(1, 12)
    assert {(run.kind) for run in made.dag_runs} == set(KINDS)
    assert {(run.vendor) for run in made.dag_runs} == set(VENDORS)
    assert {fault.target for fault in made.faults if fault.kind == "kill"} == set(COMPONENTS)
    assert {fault.target for fault in made.faults if fault.kind == "stall"} == set(COMPONENTS)
    people = {"clear", "mark-failed", "mark-success", "fail-dag-run"}
    assert {fault.kind for fault in made.faults} == people | {
        "kill-task",
        "kill",
        "stall",
        "restart-database",
        "vendor-away",
    }


def test_nothing_begins_after_the_end_and_all_is_told() -> None:
    made = plan(2, 5)
    moments = [each.at for each in (*made.dag_runs, *made.faults)]
    assert max(moments) < 5 * 60
    assert len(list(made.lines())) == 1 + len(moments)


def test_a_stop_may_take_longer_than_a_vendor_is_away() -> None:
    assert AWAY_SECONDS < soak_limits.STOP_TIMEOUT
    assert STALL_SECONDS == 25
