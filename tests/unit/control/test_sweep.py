"""A sweep: which runs it takes for orphans, what keeps it from stopping one, what it only reports."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.control import sweep as sweeping
from airflow_runctl.control.findings import Finding, Sweep, Swept
from airflow_runctl.control.inventory import LastAttempt, Scope, Stored
from airflow_runctl.control.records import start_of
from airflow_runctl.control.seal import handle_of
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.sweep import Rules, Sweeper
from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable, RunctlError
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, ExternalRun, Owner, Ownership, StopReason, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.transport.retry import Patience
from tests.unit.connections import Connections
from tests.unit.known_runs import CONN_ID, WORKSPACE, alive_at_bctrl

pytestmark = pytest.mark.usefixtures("brisk")

NOTE = StopNote(StopReason.LEFTOVER, "test")
QUICK = Rules(look_again=0.0, timeout=5.0)


@dataclass
class Airflow:
    """What Airflow knows: a source, and a channel that writes into it.

    :param between: called between the two looks of a sweep, and before each later one.
    """

    connections: Connections
    tasks: dict[TaskKey, LastAttempt | None] = field(default_factory=dict)
    dag_runs: dict[tuple[str, str], str] = field(default_factory=dict)
    xcoms: dict[tuple[TaskKey, str], Any] = field(default_factory=dict)
    between: Callable[[int], None] = lambda look: None
    looks: int = 0
    writable: bool = True

    # -- a source

    async def places(self, key: str, scope: Scope) -> list[TaskKey]:
        return [where for where, name in self.xcoms if name == key]

    async def stored(self, key: str, where: TaskKey) -> Stored | None:
        return Stored(self.xcoms[where, key]) if (where, key) in self.xcoms else None

    async def attempt(self, where: TaskKey) -> LastAttempt | None:
        self.looks += 1
        self.between(self.looks)
        return self.tasks[where]

    async def dag_run_state(self, dag_id: str, run_id: str) -> str | None:
        return self.dag_runs[dag_id, run_id]

    async def time_limit(self, where: TaskKey) -> float | None:
        return None

    async def failed_since(self, since: datetime, scope: Scope, most: int) -> list[TaskKey]:
        assert datetime.now(UTC) - since <= timedelta(days=1, minutes=1)
        return [where for where, task in self.tasks.items() if task and task.state == "failed"]

    # -- a channel

    async def connection(self, conn_id: str) -> tuple[Any, dict[str, Any]]:
        from airflow.providers.common.compat.sdk import Connection

        row = self.connections.row(conn_id)
        conn = Connection(conn_id=conn_id, **{**row, "extra": json.dumps(row["extra"])})
        return conn, conn.extra_dejson

    async def get(self, key: str, where: TaskKey) -> Any:
        return self.xcoms.get((where, key))

    async def set(self, key: str, value: Any, where: TaskKey) -> None:
        self.xcoms[where, key] = value

    async def delete(self, key: str, where: TaskKey) -> None:
        self.xcoms.pop((where, key), None)

    async def variables(self, prefix: str) -> list[str]:
        return []


@dataclass
class Field:
    """Runs at the sandbox, and an Airflow that knows some of them."""

    box: Sandbox
    airflow: Airflow
    connections: Connections

    def alive(self, name: str) -> str:
        return alive_at_bctrl(self.box, self.connections, name)

    def add(
        self,
        name: str,
        state: str | None = "failed",
        dag_run: str = "running",
        ownership: Ownership = Ownership.TASK,
        age: float = 3600,
        dag_id: str = "nightly",
    ) -> str:
        run_id = self.alive(name)
        where = self.where(name, dag_id)
        ids = {"workspace_id": WORKSPACE, "alias": name, "id": run_id}
        began = datetime.now(UTC) - timedelta(seconds=age)
        run = ExternalRun("bctrl", CONN_ID, run_id, None, began, ids, Owner(where, 1, ownership))
        self.airflow.xcoms[where, HANDLE_KEY] = handle_of(run, self.connections.access(CONN_ID))
        self.airflow.tasks[where] = LastAttempt(state, 1)
        self.airflow.dag_runs[dag_id, "scheduled__1"] = dag_run
        return run_id

    @staticmethod
    def where(name: str, dag_id: str = "nightly") -> TaskKey:
        return TaskKey(dag_id, "scheduled__1", name)

    def sweep(self, rules: Rules = QUICK, *, dry_run: bool = False, scope: Scope | None = None, **more: Any) -> Sweep:
        channel: Any = self.airflow
        sweeper = Sweeper(self.airflow, channel, rules, NOTE, scope or Scope(), **more)
        return in_own_loop(sweeper.run(dry_run=dry_run))

    def open(self) -> set[str]:
        return {run["run_id"] for run in self.box.open_runs()}


@pytest.fixture
def ground(box: Sandbox, connections: Connections) -> Field:
    return Field(box, Airflow(connections), connections)


def findings(sweep: Sweep) -> dict[str, Finding]:
    return {swept.known.where.task_id: swept.finding for swept in sweep.runs}


def why(sweep: Sweep, name: str) -> str:
    [swept] = [swept for swept in sweep.runs if swept.known.where.task_id == name]
    return swept.why


# -- what is an orphan --------------------------------------------------------------------------------------------


def test_exactly_the_orphans_are_stopped_and_recorded(ground: Field) -> None:
    orphan = ground.add("orphan", "failed")
    living = {ground.add("running", "running"), ground.add("deferred", "deferred"), ground.add("retry", "up_for_retry")}
    result = ground.sweep()
    assert [swept.known.where.task_id for swept in result.orphans] == ["orphan"]
    assert (ground.open(), result.may_be_alive, result.failures()) == (living, False, [])
    audit = ground.airflow.xcoms[ground.where("orphan"), AUDIT_KEY]
    assert (audit["run_id"], audit["stop"]["reason"], audit["stop"]["outcome"]) == (orphan, "leftover", "stopped")
    assert (ground.where("orphan"), HANDLE_KEY) not in ground.airflow.xcoms
    assert ground.sweep().orphans == [], "a second sweep finds nothing"


ALIVE, ORPHAN, ALONE, DOUBT = Finding.OWNED, Finding.ORPHAN, Finding.LEFT_ALONE, Finding.DOUBT


@pytest.mark.parametrize(
    ("state", "dag_run", "ownership", "finding"),
    [
        ("success", "success", Ownership.TASK, ORPHAN),
        ("a state of Airflow 4", "running", Ownership.TASK, DOUBT),
        ("success", "running", Ownership.DAG_RUN, ALIVE),
        ("success", "failed", Ownership.DAG_RUN, ORPHAN),
        ("success", "of Airflow 4", Ownership.DAG_RUN, DOUBT),
        ("failed", "failed", Ownership.NOBODY, ALIVE),
    ],
)
def test_whose_run_is_it(ground: Field, state: str, dag_run: str, ownership: Ownership, finding: Finding) -> None:
    """Every state is in test_inventory.py; here, that a sweep goes by what is sealed."""
    run_id = ground.add("load", state, dag_run, ownership)
    result = ground.sweep()
    assert findings(result) == {"load": finding}
    assert ground.open() == (set() if finding is ORPHAN else {run_id})
    assert result.may_be_alive == (finding is DOUBT)


def test_a_run_that_is_over_at_its_vendor_is_no_orphan_and_its_handle_goes(ground: Field) -> None:
    run_id = ground.add("load")
    ground.box.set_run(run_id, "stopped")
    result = ground.sweep()
    assert (findings(result), result.may_be_alive) == ({"load": Finding.OVER}, False)
    assert (ground.where("load"), HANDLE_KEY) not in ground.airflow.xcoms
    assert ground.box.requests(operation="stop") == []


def test_each_orphan_is_an_event_and_so_is_the_stop_of_it(ground: Field, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_runctl.audit")
    run_id = ground.add("load")
    ground.add("other", "running")

    def events() -> list[tuple[str, str, str]]:
        lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "airflow_runctl.audit"]
        caplog.clear()
        return [(line["event"], line["run_id"], line["by"]) for line in lines]

    ground.sweep(dry_run=True)
    assert events() == [("orphan", run_id, "test")]
    ground.sweep()
    assert [(event, by) for event, _, by in events()] == [("orphan", "test"), ("stop", "test"), ("ended", "test")]


# -- what keeps it from stopping one -------------------------------------------------------------------------------


def test_a_dry_run_stops_nothing_and_writes_nothing(ground: Field) -> None:
    run_id, over = ground.add("load"), ground.add("over")
    ground.box.set_run(over, "stopped")
    before = dict(ground.airflow.xcoms)
    result = ground.sweep(dry_run=True)
    assert [swept.known.where.task_id for swept in result.orphans] == ["load"]
    assert result.may_be_alive
    assert ground.open() == {run_id}
    assert ground.airflow.xcoms == before


def test_a_young_run_is_left_alone(ground: Field) -> None:
    run_id = ground.add("load", age=1700)
    result = ground.sweep()
    assert findings(result) == {"load": ALONE}
    assert "less than 1800" in why(result, "load")
    assert ground.open() == {run_id}
    assert findings(ground.sweep(replace(QUICK, min_age=1600))) == {"load": ORPHAN}


def test_the_age_is_the_one_that_is_sealed(ground: Field) -> None:
    run_id = ground.add("load", age=10)
    stored = ground.airflow.xcoms[ground.where("load"), HANDLE_KEY]
    stored["started_at"] = (datetime.now(UTC) - timedelta(days=9)).isoformat()
    assert findings(ground.sweep()) == {"load": ALONE}
    assert ground.open() == {run_id}


@pytest.mark.parametrize("look", [2, 3])
def test_an_owner_that_is_back_at_a_later_look_keeps_its_run(ground: Field, look: int) -> None:
    """At the second look, and when it is asked right before the stop."""
    run_id = ground.add("load")

    def between(number: int) -> None:
        if number == look:
            ground.airflow.tasks[ground.where("load")] = LastAttempt("running", 2)

    ground.airflow.between = between
    assert findings(ground.sweep()) == {"load": ALIVE}
    assert ground.open() == {run_id}


def test_a_handle_that_another_attempt_has_replaced_is_left_alone(ground: Field) -> None:
    run_id = ground.add("load")

    def between(number: int) -> None:
        if number == 1:
            place = (ground.where("load"), HANDLE_KEY)
            ground.airflow.xcoms[place] = {**ground.airflow.xcoms[place], "token": "another"}

    ground.airflow.between = between
    result = ground.sweep()
    assert findings(result) == {"load": Finding.OVER}
    assert ground.open() == {run_id}


def test_an_airflow_that_does_not_say_a_second_time_is_a_doubt(ground: Field) -> None:
    run_id = ground.add("load")

    def between(number: int) -> None:
        if number == 2:
            raise AirflowUnreachable("Airflow does not answer.")

    ground.airflow.between = between
    result = ground.sweep()
    assert (findings(result), ground.open()) == ({"load": DOUBT}, {run_id})
    assert "did not say a second time: Airflow does not answer." in why(result, "load")


def test_an_airflow_that_says_nothing_stops_nothing(ground: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = ground.add("load")

    async def down(*arguments: object) -> list[TaskKey]:
        raise AirflowUnreachable("Airflow does not answer.")

    monkeypatch.setattr(ground.airflow, "places", down)
    with pytest.raises(RunctlError, match="does not answer"):
        ground.sweep()
    assert ground.open() == {run_id}


FORGED: dict[str, Callable[[Field], Any]] = {
    "nothing that is a handle": lambda ground: "external_run",
    "an altered token": lambda ground: {**ground.airflow.xcoms[ground.where("load"), HANDLE_KEY], "token": "2gAAAA"},
    "another's handle": lambda ground: ground.airflow.xcoms[ground.where("victim"), HANDLE_KEY],
    "an unknown vendor": lambda ground: {
        **ground.airflow.xcoms[ground.where("load"), HANDLE_KEY],
        "vendor": "acme",
    },
    "an unknown connection": lambda ground: {
        **ground.airflow.xcoms[ground.where("load"), HANDLE_KEY],
        "conn_id": "nowhere",
    },
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_handle_stops_nothing_and_is_a_doubt(ground: Field, forged: str) -> None:
    alive = {ground.add("load"), ground.add("victim", "running")}
    ground.airflow.xcoms[ground.where("load"), HANDLE_KEY] = FORGED[forged](ground)
    result = ground.sweep()
    assert findings(result)["load"] is DOUBT
    assert result.may_be_alive
    assert ground.open() == alive


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "body", "body": "garbage"}])
def test_a_vendor_that_does_not_say_whether_a_run_is_alive_is_a_doubt(
    ground: Field, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "LOOK_PATIENCE", Patience(total=0.05))
    run_id = ground.add("load")
    ground.box.fault("bctrl", "status", **fault)
    result = ground.sweep()
    assert findings(result) == {"load": DOUBT}
    assert "bctrl does not say" in why(result, "load")
    assert ground.open() == {run_id}


def test_scope_and_exclusions(ground: Field) -> None:
    names = {"a": "nightly", "b": "hourly", "c": "hourly_load"}
    ids = {name: ground.add(name, dag_id=dag_id) for name, dag_id in names.items()}
    rules = replace(QUICK, exclude_dags=["hourly*"])
    assert findings(ground.sweep(rules, dry_run=True)) == {"a": ORPHAN, "b": ALONE, "c": ALONE}
    rules = replace(QUICK, exclude_connections=["bctrl_*"])
    assert set(findings(ground.sweep(rules)).values()) == {ALONE}
    assert findings(ground.sweep(scope=Scope(dag_id="hourly"))) == {"b": ORPHAN}
    assert ground.open() == {ids["a"], ids["c"]}


# -- too many -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (replace(QUICK, most=5, share=1.0), "6 runs look like orphans, more than 5"),
        (replace(QUICK, most=100, share=0.5), "6 of the 8 runs that may be alive look like orphans, more than 50%"),
        (replace(QUICK, most=1, share=1.0), "6 runs look like orphans, far more than 1"),
    ],
)
def test_more_orphans_than_can_be_believed_are_not_stopped(ground: Field, rules: Rules, said: str) -> None:
    alive = {ground.add(f"orphan-{number}") for number in range(6)}
    alive |= {ground.add(f"alive-{number}", "running") for number in range(2)}
    result = ground.sweep(rules)
    assert result.refused is not None
    assert result.refused.startswith(said)
    assert result.may_be_alive
    assert ground.open() == alive


def test_of_a_few_no_share_is_taken(ground: Field) -> None:
    ground.add("only")
    assert ground.sweep(replace(QUICK, share=0.1)).refused is None
    assert ground.open() == set()


def test_a_thousand_apparent_orphans_are_not_even_asked_for(ground: Field) -> None:
    run_id = ground.add("load")
    handle = ground.airflow.xcoms[ground.where("load"), HANDLE_KEY]
    access = ground.connections.access(CONN_ID)
    for number in range(1000):
        where = TaskKey("nightly", f"r{number}", "load")
        ids = {"workspace_id": WORKSPACE, "alias": "load", "id": run_id}
        owner = Owner(where, 1, Ownership.TASK)
        run = ExternalRun("bctrl", CONN_ID, run_id, None, datetime.fromisoformat(handle["started_at"]), ids, owner)
        ground.airflow.xcoms[where, HANDLE_KEY] = handle_of(run, access) if number < 150 else handle
        ground.airflow.tasks[where] = LastAttempt("failed", 1)
        ground.airflow.dag_runs["nightly", f"r{number}"] = "failed"
    ground.box.clear_requests()
    result = ground.sweep()
    assert "151 runs look like orphans, far more than 20" in str(result.refused)
    assert ground.box.requests(vendor="bctrl") == []
    assert ground.open() == {run_id}


# -- what is not seen to stop ---------------------------------------------------------------------------------------


def test_a_stop_that_is_not_confirmed_may_be_alive(ground: Field) -> None:
    ground.add("load")
    ground.box.behave("bctrl", "load", stop_seconds=None)
    result = ground.sweep(replace(QUICK, timeout=0.3))
    assert result.may_be_alive
    assert "not confirmed" in result.failures()[0]


def test_one_run_that_cannot_be_stopped_keeps_no_other_alive(ground: Field) -> None:
    stuck, other = ground.add("stuck"), ground.add("other")
    ground.box.behave("bctrl", "stuck", stop_seconds=None)
    ground.sweep(replace(QUICK, timeout=0.3))
    assert ground.open() == {stuck}
    assert other not in ground.open()


def test_a_person_who_says_no_stops_nothing(ground: Field) -> None:
    run_id = ground.add("load")
    asked: list[Swept] = []

    async def no(orphans: Any) -> bool:
        asked.extend(orphans)
        return False

    channel: Any = ground.airflow
    result = in_own_loop(Sweeper(ground.airflow, channel, QUICK, NOTE).run(dry_run=False, agreed=no))
    assert [swept.known.where.task_id for swept in asked] == ["load"]
    assert result.refused == "It was not agreed to: none was stopped"
    assert ground.open() == {run_id}


# -- strangers -----------------------------------------------------------------------------------------------------


def test_a_run_that_airflow_does_not_know_is_reported_and_lives(ground: Field) -> None:
    ground.add("load")
    stranger = ground.alive("stranger")
    result = ground.sweep()
    assert [(one.run_id, one.conn_id) for one in result.strangers] == [(stranger, CONN_ID)]
    assert ground.open() == {stranger}


def test_connections_that_no_known_run_uses_are_compared_too(ground: Field) -> None:
    stranger = ground.alive("stranger")
    asked = frozenset({("bctrl", CONN_ID), ("axiom", "axiom_default"), ("bctrl", "nowhere")})
    result = ground.sweep(connections=asked)
    assert [one.run_id for one in result.strangers] == [stranger]
    assert sorted(result.unlisted)[0].startswith("What runs there is not known (connection nowhere)")
    assert "axiom.ai lists no live runs" in sorted(result.unlisted)[1]


def test_what_has_just_begun_is_no_stranger(ground: Field) -> None:
    """Its record comes between the two looks."""
    ground.add("other", "running")
    run_id = ground.alive("load")

    def told(text: str) -> None:
        ids = {"workspace_id": WORKSPACE, "alias": "load", "id": run_id}
        where = ground.where("load")
        run = ExternalRun("bctrl", CONN_ID, run_id, None, datetime.now(UTC), ids, Owner(where, 1))
        ground.airflow.xcoms[where, HANDLE_KEY] = handle_of(run, ground.connections.access(CONN_ID))
        ground.airflow.tasks[where] = LastAttempt("running", 1)

    assert ground.sweep(told=told).strangers == []


def test_the_runs_of_other_dags_are_no_strangers_to_a_sweep_of_one(ground: Field) -> None:
    ground.add("load", dag_id="hourly")
    ground.add("other", "running")
    assert ground.sweep(scope=Scope(dag_id="hourly")).strangers == []


# -- lost starts ----------------------------------------------------------------------------------------------------


def lost(ground: Field, name: str, alias: str, audit: dict[str, Any] | None = None) -> TaskKey:
    """Let a task have failed while it started a runtime: all that is left is what it wrote ahead."""
    where = ground.where(name)
    access = ground.connections.access(CONN_ID)
    search = {"workspace_id": WORKSPACE, "alias": alias, "known": None}
    start = start_of(search, Owner(where, 1), access, datetime.now(UTC))
    names = {"vendor": "bctrl", "conn_id": CONN_ID}
    ground.airflow.xcoms[where, AUDIT_KEY] = audit or {**names, "state": "starting", "start": start}
    ground.airflow.tasks[where] = LastAttempt("failed", 1)
    return where


def starts(ground: Field, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    result = ground.sweep(failed=ground.airflow, **more)
    assert result.may_be_alive == bool(result.starts)
    return [(start.where.task_id, start.candidates) for start in result.starts]


def test_the_run_of_a_lost_start_is_found_reported_and_lives(ground: Field) -> None:
    run_id = ground.alive("shop")
    lost(ground, "load", "shop")
    assert starts(ground) == [("load", (run_id,))]
    assert ground.open() == {run_id}


def test_a_lost_start_of_which_nothing_is_alive_is_no_alarm(ground: Field) -> None:
    lost(ground, "never_made", "nothing")
    ground.box.set_run(ground.alive("shop"), "stopped")
    lost(ground, "over", "shop")
    assert starts(ground) == []


def test_a_run_that_has_an_owner_is_nobodys_lost_start(ground: Field) -> None:
    ground.add("shop", "running", dag_id="hourly")
    lost(ground, "load", "shop")
    assert starts(ground) == []
    assert starts(ground, scope=Scope(dag_id="nightly")) == []


def test_candidates_of_an_ambiguous_start_are_shown_with_the_task_that_may_own_them(ground: Field) -> None:
    alive, over = ground.alive("a"), ground.alive("b")
    ground.box.set_run(over, "stopped")
    named = {"vendor": "bctrl", "conn_id": CONN_ID, "state": "ambiguous", "candidates": [alive, over]}
    lost(ground, "load", "", named)
    assert starts(ground) == [("load", (alive,))]
    assert ground.open() == {alive}
    ground.box.set_run(alive, "stopped")
    assert starts(ground) == []


def test_candidates_at_a_vendor_that_lists_nothing_are_all_shown(ground: Field) -> None:
    named = {
        "vendor": "axiom",
        "conn_id": "axiom_default",
        "state": "ambiguous",
        "candidates": ["Prices 1", "Prices 2"],
    }
    lost(ground, "load", "", named)
    assert starts(ground) == [("load", ("Prices 1", "Prices 2"))]


def test_what_was_written_ahead_and_does_not_open_is_said(ground: Field) -> None:
    where = lost(ground, "load", "shop")
    ground.airflow.xcoms[where, AUDIT_KEY]["start"]["token"] += "AAAA"
    result = ground.sweep(failed=ground.airflow)
    assert "does not open with connection" in result.starts[0].why
    assert result.may_be_alive


def test_failed_tasks_that_airflow_does_not_name_keep_no_orphan_alive(
    ground: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.add("load")

    async def refused(*arguments: object) -> list[TaskKey]:
        raise AirflowRefused("the login lacks the right to read task instances")

    monkeypatch.setattr(ground.airflow, "failed_since", refused)
    result = ground.sweep(failed=ground.airflow)
    assert result.unlisted[-1] == "Lost starts were not looked for: the login lacks the right to read task instances"
    assert ground.open() == set()
