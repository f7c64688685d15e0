"""The routes that read, on Airflow's own application: who sees which runs, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_runctl.compat import tables
from airflow_runctl.runs import HISTORY_KEY
from tests.unit.plugin.conftest import SECRET, World


@pytest.fixture
def only_nightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may do anything with a Dag but ``nightly``; nor with all of them."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    before = SimpleAuthManager.is_authorized_dag

    def is_authorized(self: Any, *, details: Any = None, **more: Any) -> bool:
        return bool(details and details.id == "nightly" and before(self, details=details, **more))

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect what the database is asked."""
    from airflow import settings
    from sqlalchemy import event

    made: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        made.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        yield made
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)


def test_runs_that_may_be_alive_are_listed_with_their_owners(world: World) -> None:
    world.add("nightly", "load", handle=world.handle("one"))
    world.add("nightly", "lost", "failed", handle=world.handle("two", started_at="2026-11-26T01:00:00+00:00"))
    world.add("nightly", "over", "success", audit={"run_id": "three", "state": "succeeded"})
    answer = world.client("viewer").get("/runctl/runs")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json()["total"] == 2
    lost, load = answer.json()["runs"]
    assert (lost["run_id"], lost["standing"], lost["why"]) == ("two", "orphan", "its task is over (failed)")
    assert (load["run_id"], load["standing"], load["owner_state"], load["dag_run_state"]) == (
        *("one", "owned", "running"),
        None,
    )
    assert (load["dag_id"], load["dag_run_id"], load["task_id"], load["map_index"]) == ("nightly", "r1", "load", -1)
    assert SECRET not in answer.text


def test_a_stop_that_was_recorded_is_shown(world: World) -> None:
    handle = world.handle("one")
    stop = {"reason": "user", "by": "task load", "text": None, "asked_at": "", "outcome": "requested", "seconds": 3.0}
    audit = {"run_id": "one", "started_at": handle["started_at"], "state": "stopping", "stop": stop}
    world.add("nightly", "load", handle=handle, audit=audit)
    [run] = world.client("viewer").get("/runctl/runs").json()["runs"]
    assert (run["stop"]["by"], run["stop"]["outcome"], run["vendor_state"]) == ("task load", "requested", "stopping")
    assert run["vendor_state_at"] is not None


def test_limits_are_shown_with_what_is_left_of_them(world: World) -> None:
    world.add("nightly", "load", handle={**world.handle("one"), "limits": {"max_runtime": time.time() - 90}})
    for path in ("runs", "runs/one"):
        [run] = world.client("viewer").get(f"/runctl/{path}").json()["runs"]
        assert run["limits"]["max_runtime"]["left"] <= -90


@pytest.mark.skipif(not tables.OF_AN_ATTEMPT, reason="the start of an attempt wipes what the one before has stored")
def test_what_an_archived_attempt_has_told_is_shown(world: World) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    tasks = TaskInstance.__table__
    where = world.add("nightly", "load", "failed")
    tables.store(HISTORY_KEY, [{"event": "started", "at": "2026-11-26T03:00:01.000+00:00", "try_number": 1}], where)
    with create_session() as session:
        session.execute(tasks.update().values(working_set=None, try_number=0))
    world.add("nightly", "load", handle=world.handle("two"))
    with create_session() as session:
        session.execute(tasks.update().where(tasks.c.working_set.is_(True)).values(try_number=3))
    tables.store(HISTORY_KEY, [{"event": "started", "at": "2026-11-26T05:00:01.000+00:00", "try_number": 3}], where)
    [run] = world.client("viewer").get("/runctl/runs/two").json()["runs"]
    assert [event["try_number"] for event in run["history"]] == [1, 3]
    assert run["wiped"] == "nothing is left of attempt 2: a later one wipes it"


def test_what_happened_is_shown(world: World) -> None:
    where = world.add("nightly", "load", handle=world.handle("one"))
    moment = "2026-11-26T03:00:01.000+00:00"
    started = {"event": "started", "at": moment, "by": "worker", "run_id": "one", "try_number": 1, "seconds": 0.5}
    state = {"event": "state", "at": moment, "run_id": "one", "vendor_state": "Busy", "token": SECRET}
    tables.store(HISTORY_KEY, [started, state, "no event"], where)
    answer = world.client("viewer").get("/runctl/runs/one")
    [run] = answer.json()["runs"]
    assert [{name: value for name, value in event.items() if value is not None} for event in run["history"]] == [
        started,
        {name: value for name, value in state.items() if name != "token"},
    ]
    assert (run["vendor_state"], run["wiped"]) == ("Busy", None)
    assert SECRET not in answer.text
    [listed] = world.client("viewer").get("/runctl/runs").json()["runs"]
    assert listed["vendor_state"] == "Busy"
    assert listed["vendor_state_at"].startswith("2026-11-26T03:00:01")
    assert "history" not in listed


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("", {"one", "two", "three"}),
        ("?dag_id=nightly", {"one", "two"}),
        ("?dag_id=nightly&task_id=load", {"one"}),
        ("?dag_run_id=r2", {"three"}),
        ("?run_id=two&run_id=three", {"two", "three"}),
        ("?state=failed", {"two"}),
        ("?orphans=true", {"two"}),
        ("?vendor=snaplogic", set()),
        ("?conn_id=bctrl_default&map_index=-1", {"one", "two", "three"}),
        ("?map_index=4", set()),
    ],
)
def test_filters(world: World, question: str, found: set[str]) -> None:
    world.add("nightly", "load", handle=world.handle("one"))
    world.add("nightly", "lost", "failed", handle=world.handle("two"))
    world.add("weekly", handle=world.handle("three"), run_id="r2")
    answer = world.client("viewer").get(f"/runctl/runs{question}").json()
    assert {run["run_id"] for run in answer["runs"]} == found
    assert answer["total"] == len(found)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("map_index=x", "valid integer"),
        ("map_index=99999999999", "less than or equal"),
        ("dag_id=%00", "not printable"),
        ("dagid=x", "Extra inputs are not permitted"),
        ("state=", "at least 1 character"),
    ],
)
def test_a_question_without_sense_is_refused(world: World, question: str, said: str) -> None:
    answer = world.client("viewer").get(f"/runctl/runs?{question}")
    assert answer.status_code == 422
    assert said in answer.json()["detail"][0]["msg"]


def test_no_run_and_no_count_of_a_dag_that_is_not_the_users(world: World, only_nightly: None) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(DagBundleModel(name="dags"))
        session.flush()
        session.add_all(DagModel(dag_id=name, bundle_name="dags", fileloc="f") for name in ("nightly", "secret"))
    world.add("nightly", handle=world.handle("one"))
    world.add("secret", handle=world.handle("two"))
    client = world.client("admin")
    listed = client.get("/runctl/runs").json()
    assert ([run["run_id"] for run in listed["runs"]], listed["total"]) == (["one"], 1)
    assert client.get("/runctl/runs?dag_id=secret").json() == {"runs": [], "total": 0}
    unknown, hidden = client.get("/runctl/runs/no-such-run"), client.get("/runctl/runs/two")
    assert (hidden.status_code, hidden.json()) == (404, unknown.json())
    assert client.get("/runctl/runs/one").status_code == 200


def test_all_that_is_known_of_a_run_is_shown(world: World) -> None:
    world.add("nightly", handle=world.handle("with/slash"))
    answer = world.client("viewer").get("/runctl/runs/with/slash")
    [run] = answer.json()["runs"]
    assert (run["run_id"], run["execution_timeout"]) == ("with/slash", None)
    assert SECRET not in answer.text


def test_what_is_no_handle_is_told_and_hides_no_other(world: World) -> None:
    world.add("nightly", "odd", handle="nonsense")
    world.add("nightly", "load", handle=world.handle("one"))
    runs = {run["task_id"]: run for run in world.client("viewer").get("/runctl/runs").json()["runs"]}
    assert "is no handle" in runs["odd"]["why"]
    assert runs["load"]["standing"] == "owned"


def test_a_handle_that_is_stored_as_text_is_read(world: World) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    where = world.add("nightly")
    place = {"dag_id": where.dag_id, "run_id": where.run_id, "task_id": where.task_id}
    with create_session() as session:
        XComModel.set(key="external_run", value=world.handle("one"), **place, session=session)
    [run] = world.client("viewer").get("/runctl/runs").json()["runs"]
    assert run["run_id"] == "one"


def test_runs_that_are_over_cost_nothing(world: World) -> None:
    client = world.client("viewer")

    def cost() -> int:
        with statements() as made:
            assert client.get("/runctl/runs").status_code == 200
        return len(made)

    world.add("nightly", "first", handle=world.handle("first"))
    few = cost()
    world.add_many("nightly", alive=50, over=2000)
    with statements() as made:
        listed = client.get("/runctl/runs").json()
    assert listed["total"] == 51
    assert len(made) == few
    of_ours = [one for one in made if "xcom" in one]
    assert len(of_ours) == 2, "the Dags, and all that is known of their runs"


def test_a_second_look_is_a_new_one(world: World) -> None:
    """What was read for a list is not taken for true later on, as right before a stop."""
    import asyncio

    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    from airflow_runctl.control.inventory import Inventory, Standing
    from airflow_runctl.plugin.source import Tables

    async def all_of(dag_ids: set[str]) -> frozenset[str]:
        return frozenset(dag_ids)

    async def unknown(where: Any) -> None:
        return None

    async def look() -> tuple[Standing, Any, Any]:
        source = Tables(all_of, unknown)
        [first] = await Inventory(source).runs()
        with create_session() as session:
            session.execute(update(TaskInstance).values(state="failed"))
        second = await Inventory(source).again(first)
        with create_session() as session:
            session.execute(update(TaskInstance).values(state="success"))
        third = await Inventory(source).again(first)
        with create_session() as session:
            session.execute(update(DagRun).values(state="failed"))
        assert await source.dag_run_state(first.where.dag_id, first.where.run_id) == "failed"
        assert second is not None
        assert third is not None
        return first.standing, second.standing, third.dag_run

    world.add("nightly", handle=world.handle("one"))
    assert asyncio.run(look()) == (Standing.OWNED, Standing.ORPHAN, "running")
