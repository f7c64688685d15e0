"""Runs that only an archived attempt knows of: which handles a sweep believes, what that costs, what it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.control.archive import candidate, latest_of_each, standing_of_left
from airflow_runctl.control.findings import Finding, Sweep
from airflow_runctl.control.inventory import LastAttempt, Left, Scope, Standing
from airflow_runctl.control.seal import handle_of
from airflow_runctl.control.sweep import Rules
from airflow_runctl.exceptions import AirflowUnreachable
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, HISTORY_KEY, ExternalRun, Owner, Ownership, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.vendors.axiom.vendor import Axiom
from airflow_runctl.vendors.bctrl.api import Bctrl
from tests.unit.connections import Connections
from tests.unit.control.test_sweep import QUICK, Airflow, Field
from tests.unit.known_runs import CONN_ID, WORKSPACE

pytestmark = pytest.mark.usefixtures("brisk")

WHERE = TaskKey("nightly", "scheduled__1", "load")
HANDLE = {"vendor": "bctrl", "conn_id": CONN_ID, "run_id": "one", "started_at": "2026-11-26T03:00:00+00:00"}
OWNED, ORPHAN, UNCLEAR = Standing.OWNED, Standing.ORPHAN, Standing.UNCLEAR


@pytest.mark.parametrize(
    ("attempt", "dag_run", "ownership", "has_other", "standing"),
    [
        ("failed", "running", Ownership.TASK, False, ORPHAN),
        ("success", "running", Ownership.TASK, False, ORPHAN),
        ("success", "success", Ownership.TASK, True, ORPHAN),
        ("running", "running", Ownership.TASK, True, ORPHAN),
        ("deferred", "running", Ownership.TASK, True, ORPHAN),
        # Whoever may still decide on it.
        ("running", "running", Ownership.TASK, False, OWNED),
        ("deferred", "running", Ownership.TASK, False, OWNED),
        ("restarting", "running", Ownership.TASK, False, OWNED),
        ("queued", "running", Ownership.TASK, True, OWNED),
        (None, "running", Ownership.TASK, False, OWNED),
        ("up_for_retry", "running", Ownership.TASK, False, OWNED),
        # Runs that were left to their Dag run, or to nobody.
        ("success", "running", Ownership.DAG_RUN, True, OWNED),
        ("success", "success", Ownership.DAG_RUN, True, ORPHAN),
        ("running", None, Ownership.DAG_RUN, True, UNCLEAR),
        ("failed", "failed", Ownership.NOBODY, False, OWNED),
        # What is not known.
        ("failed", "failed", None, False, UNCLEAR),
        ("elsewhere", "running", Ownership.TASK, False, UNCLEAR),
    ],
)
def test_whose_it_is(
    attempt: str | None, dag_run: str | None, ownership: Ownership | None, has_other: bool, standing: Standing
) -> None:
    left = Left(WHERE, 1, HANDLE, has_other)
    assert standing_of_left(left, LastAttempt(attempt, 2), dag_run, ownership)[0] is standing


def test_without_a_task_instance_nothing_is_clear() -> None:
    assert standing_of_left(Left(WHERE, 1, HANDLE), None, None, Ownership.TASK)[0] is UNCLEAR


ENDED = {"run_id": HANDLE["run_id"], "started_at": HANDLE["started_at"], "state": "stopped"}


@pytest.mark.parametrize(
    ("handle", "beside", "latest", "expected"),
    [
        (HANDLE, [], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [(AUDIT_KEY, {**ENDED, "state": "running"})], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [(AUDIT_KEY, {**ENDED, "state": None})], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [(AUDIT_KEY, {**ENDED, "state": ["stopped"]})], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [(AUDIT_KEY, "nonsense")], {}, Left(WHERE, 1, HANDLE)),
        # An end of another run of that id, and an end that only the history tells: nothing decides by that.
        (HANDLE, [(AUDIT_KEY, {**ENDED, "started_at": "2025"})], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [(HISTORY_KEY, ENDED)], {}, Left(WHERE, 1, HANDLE)),
        (HANDLE, [], {HANDLE_KEY: {**HANDLE, "run_id": "two"}}, Left(WHERE, 1, HANDLE, has_other=True)),
        (HANDLE, [], {HANDLE_KEY: "nonsense"}, Left(WHERE, 1, HANDLE, has_other=True)),
        # Shown to be over, by whichever attempt.
        (HANDLE, [(AUDIT_KEY, {**ENDED, "run_id": "two"}), (AUDIT_KEY, ENDED)], {}, None),
        # Followed by the latest attempt; a vendor may give several runs one id.
        (HANDLE, [], {HANDLE_KEY: {**HANDLE, "token": "of another attempt"}}, None),
        (HANDLE, [], {HANDLE_KEY: {**HANDLE, "started_at": "later"}}, None),
        ("nonsense", [], {}, None),
    ],
)
def test_what_the_records_say_is_not_looked_at(
    handle: Any, beside: list[tuple[str, Any]], latest: dict[str, Any], expected: Left | None
) -> None:
    assert candidate(WHERE, 1, handle, beside, latest) == expected


def test_of_a_run_that_several_attempts_have_followed_the_last_ones_handle_counts() -> None:
    first, second = Left(WHERE, 1, HANDLE), Left(WHERE, 2, {**HANDLE, "token": "anew"})
    other = Left(WHERE, 1, {**HANDLE, "run_id": "two"})
    assert latest_of_each([second, first, other]) == [second, other]


# -- a sweep ----------------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """What archived attempts left."""

    kept: list[Left] = field(default_factory=list)
    is_all: bool = True
    asked: list[Scope] = field(default_factory=list)
    gone: list[Left] = field(default_factory=list)
    before: Callable[[int], None] = lambda question: None

    async def left(self, scope: Scope) -> tuple[list[Left], bool]:
        self.asked.append(scope)
        self.before(len(self.asked))
        return [one for one in self.kept if scope.has_place(one.where)], self.is_all

    async def let_go(self, over: Sequence[Left]) -> None:
        self.gone += over
        self.kept = [one for one in self.kept if one not in over]


@dataclass
class Ground(Field):
    """Runs of which only an archived attempt knows."""

    shelf: Shelf = field(default_factory=Shelf)

    def leave(self, name: str, state: str | None = "failed", *, own_run: bool = False, **more: Any) -> str:
        """Leave a live run at an archived attempt.

        :param state: of the latest attempt.
        :param own_run: whether that holds a handle of its own.
        """
        where, run_id = self.where(name), self.alive(name)
        self.shelf.kept.append(Left(where, 1, self.handle(name, run_id, where, **more), own_run))
        self.airflow.tasks[where] = LastAttempt(state, 2)
        self.airflow.dag_runs[where.dag_id, where.run_id] = "running"
        return run_id

    def handle(self, name: str, run_id: str, where: TaskKey, age: float = 3600) -> dict[str, Any]:
        ids = {"workspace_id": WORKSPACE, "alias": name, "id": run_id}
        began = datetime.now(UTC) - timedelta(seconds=age)
        run = ExternalRun("bctrl", CONN_ID, run_id, None, began, ids, Owner(where, 1, Ownership.TASK))
        return dict(handle_of(run, self.connections.access(CONN_ID)))

    def sweep(self, rules: Rules = QUICK, **more: Any) -> Sweep:
        return super().sweep(rules, archive=self.shelf, **more)


@pytest.fixture
def ground(box: Sandbox, connections: Connections) -> Ground:
    return Ground(box, Airflow(connections), connections)


def findings(sweep: Sweep) -> dict[str, Finding]:
    return {swept.known.where.task_id: swept.finding for swept in sweep.runs}


def test_it_is_named_and_stopped_and_the_records_of_the_latest_attempt_stay_as_they_are(ground: Ground) -> None:
    left, own, where = ground.leave("load", "running", own_run=True), ground.alive("own"), ground.where("load")
    ground.airflow.xcoms[where, HANDLE_KEY] = ground.handle("own", own, where)
    ground.airflow.xcoms[where, AUDIT_KEY] = {"state": "running", "run_id": own}
    before = {key: value for key, value in ground.airflow.xcoms.items() if key[1] != HISTORY_KEY}
    dry = ground.sweep(dry_run=True)
    assert [(one.finding, one.known.run_id) for one in dry.orphans] == [(Finding.ORPHAN, left)]
    assert ground.open() == {left, own}
    swept = ground.sweep()
    assert not swept.may_be_alive
    assert ground.open() == {own}
    after = {key: value for key, value in ground.airflow.xcoms.items() if key[1] != HISTORY_KEY}
    assert after == before, "the audit record and the handle there are those of the latest attempt"
    [stop] = ground.airflow.xcoms[where, HISTORY_KEY]
    assert (stop["event"], stop["run_id"], stop["outcome"]) == ("stop", left, "stopped")


def test_what_is_over_at_its_vendor_takes_one_look_and_is_let_go_by_a_sweep_that_acts(ground: Ground) -> None:
    run_id = ground.leave("load")
    ground.box.set_run(run_id, "stopped")
    dry = ground.sweep(dry_run=True)
    assert (dry.runs, dry.may_be_alive, ground.shelf.gone, len(ground.shelf.asked)) == ([], False, [], 1)
    assert ground.airflow.looks == 1
    ground.sweep()
    assert [str(one.handle["run_id"]) for one in ground.shelf.gone] == [run_id]
    ground.airflow.looks = 0
    ground.sweep()
    assert ground.airflow.looks == 0, "from then on it costs nothing"


def test_many_that_are_over_keep_no_sweep_from_stopping_what_is_alive(ground: Ground) -> None:
    orphan = ground.add("orphan")
    gone = ground.alive("over")
    ground.box.set_run(gone, "stopped")
    for number in range(30):
        where = ground.where(f"over-{number}")
        ground.shelf.kept.append(Left(where, 1, ground.handle("over", gone, where)))
        ground.airflow.tasks[where] = LastAttempt("success", 2)
    sweep = ground.sweep(Rules(look_again=0.0, most=3, timeout=5.0))
    assert (sweep.refused, findings(sweep)) == (None, {"orphan": Finding.ORPHAN})
    assert orphan not in ground.open()


def test_too_many_that_are_alive_are_refused(ground: Ground) -> None:
    left = {ground.leave(f"load-{number}") for number in range(4)}
    sweep = ground.sweep(Rules(look_again=0.0, most=3, timeout=5.0))
    assert sweep.refused is not None
    assert "4 runs look like orphans, more than 3" in sweep.refused
    assert ground.open() == left


@pytest.mark.parametrize("state", ["queued", "running", "up_for_retry"])
def test_while_an_attempt_may_decide_on_it_it_is_left_alone(ground: Ground, state: str) -> None:
    run_id = ground.leave("load", state)
    assert findings(ground.sweep()) == {"load": Finding.OWNED}
    assert ground.open() == {run_id}


def test_a_run_that_another_handle_names_is_that_ones_business(ground: Ground) -> None:
    """Whether in scope or not."""
    run_id = ground.leave("load")
    where = ground.where("elsewhere")
    ground.airflow.xcoms[where, HANDLE_KEY] = ground.handle("load", run_id, where)
    ground.airflow.tasks[where] = LastAttempt("running", 1)
    assert findings(ground.sweep()) == {"elsewhere": Finding.OWNED}
    assert findings(ground.sweep(scope=Scope(task_id="load"))) == {}
    assert ground.open() == {run_id}


def test_forged_foreign_young_and_excluded_ones_are_left_alone(ground: Ground) -> None:
    forged, moved, young, kept = (ground.leave(name) for name in ("forged", "moved", "young", "kept"))
    shelf = ground.shelf.kept
    shelf[0] = Left(shelf[0].where, 1, {**shelf[0].handle, "token": str(shelf[0].handle["token"]) + "AA"})
    shelf[1] = Left(shelf[1].where, 1, ground.handle("moved", moved, ground.where("another")))
    shelf[2] = Left(shelf[2].where, 1, ground.handle("young", young, shelf[2].where, age=60))
    assert findings(ground.sweep(Rules(look_again=0.0, timeout=5.0))) == {
        "forged": Finding.DOUBT,
        "moved": Finding.DOUBT,
        "young": Finding.LEFT_ALONE,
        "kept": Finding.ORPHAN,
    }
    assert ground.open() == {forged, moved, young}
    assert kept not in ground.open()


@pytest.mark.parametrize("question", [2, 3])
def test_one_that_is_taken_over_between_the_looks_lives(ground: Ground, question: int) -> None:
    """As of a clear that had the first answer wait: the second look, and the one right before the stop, ask anew."""
    run_id = ground.leave("load", "failed")

    def take_over(number: int) -> None:
        if number == question:
            ground.shelf.kept.clear()

    ground.shelf.before = take_over
    sweep = ground.sweep()
    assert findings(sweep) == {"load": Finding.OVER}
    assert ground.open() == {run_id}


@pytest.mark.parametrize("question", [2, 3])
def test_one_whose_task_is_tried_again_between_the_looks_lives(ground: Ground, question: int) -> None:
    run_id = ground.leave("load", "failed")

    def again(number: int) -> None:
        if number == question:
            ground.airflow.tasks[ground.where("load")] = LastAttempt("queued", 3)

    ground.shelf.before = again
    assert findings(ground.sweep()) == {"load": Finding.OWNED}
    assert ground.open() == {run_id}


def test_an_archive_that_cannot_be_read_is_said_and_hides_no_other_orphan(ground: Ground) -> None:
    orphan = ground.add("orphan")

    def down(number: int) -> None:
        raise AirflowUnreachable("Airflow is away.")

    ground.shelf.before = down
    sweep = ground.sweep()
    assert sweep.unlisted == ["What archived attempts left was not looked at: Airflow is away."]
    assert orphan not in ground.open()


def test_that_there_is_more_than_was_looked_at_is_said(ground: Ground) -> None:
    ground.shelf.is_all = False
    assert ground.sweep().unlisted == ["Of what archived attempts left, only the latest was looked at."]


def test_an_attempt_whose_owner_cannot_be_read_is_a_doubt(ground: Ground) -> None:
    run_id = ground.leave("load")

    def away(look: int) -> None:
        raise AirflowUnreachable("Airflow is away.")

    ground.airflow.between = away
    assert findings(ground.sweep()) == {"load": Finding.DOUBT}
    assert ground.open() == {run_id}


def test_a_run_that_its_vendor_finds_no_more_is_no_alarm(ground: Ground) -> None:
    where = ground.where("load")
    ground.shelf.kept.append(Left(where, 1, ground.handle("load", "0d9a1c5e-0000-4000-8000-000000000000", where)))
    ground.airflow.tasks[where] = LastAttempt("failed", 2)
    ground.airflow.dag_runs[where.dag_id, where.run_id] = "running"
    sweep = ground.sweep()
    assert (findings(sweep), sweep.may_be_alive) == ({"load": Finding.LEFT_ALONE}, False)
    assert sweep.runs[0].why == "bctrl finds no such run"


def test_where_a_look_goes_by_a_name_a_later_run_of_that_name_is_not_taken_for_it(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (Axiom.looks_by_name, Bctrl.looks_by_name) == (True, False)
    monkeypatch.setattr(Bctrl, "looks_by_name", True)
    run_id = ground.leave("load", "running", own_run=True)
    sweep = ground.sweep()
    assert (findings(sweep), sweep.may_be_alive) == ({"load": Finding.LEFT_ALONE}, False)
    assert ground.open() == {run_id}
