"""What a page is told beside the inventory: deadlines, and what the user who asks may do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.plugin.looks import MOST, TOO_MANY, Looks
from airflow_runctl.runs import RunState, RunStatus
from tests.unit.plugin.conftest import AUDIT, World


def listed(world: World, role: str = "user") -> dict[str, Any]:
    runs = world.client(role).get("/runctl/runs").json()["runs"]
    return {run["run_id"]: run for run in runs}


def test_it_is_told_when_the_attempt_began_from_which_limits_count(world: World) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    began = datetime(2026, 11, 26, 10, tzinfo=UTC)
    world.add("nightly", "load", handle=world.handle("one", limits={"execution_timeout": began.timestamp() + 60}))
    with create_session() as session:
        session.execute(update(TaskInstance).values(start_date=began))
    run = listed(world)["one"]
    assert datetime.fromisoformat(run["began_at"]) == began
    assert datetime.fromisoformat(run["limits"]["execution_timeout"]["at"]) == began + timedelta(seconds=60)


def test_the_state_is_that_of_the_word_that_was_recorded_last(world: World) -> None:
    from airflow_runctl.compat import tables
    from airflow_runctl.runs import HISTORY_KEY

    where = world.add("nightly", "load", handle=world.handle("one"))
    assert (listed(world)["one"]["state"], listed(world)["one"]["vendor_state"]) == (None, None)
    event = {"event": "state", "at": "2026-11-26T03:00:00+00:00", "run_id": "one", "state": "running"}
    later = {**event, "at": "2026-11-26T03:01:00+00:00", "state": "suspended", "vendor_state": "Paused"}
    tables.store(HISTORY_KEY, [{**event, "vendor_state": "Busy"}, later], where)
    assert (listed(world)["one"]["state"], listed(world)["one"]["vendor_state"]) == ("suspended", "Paused")


def test_what_runs_is_told_as_its_handle_shows_it(world: World) -> None:
    from airflow_runctl.compat import tables

    where = world.add("nightly", "load", handle=world.handle("one", what="Scrape prices"))
    world.add("nightly", "old", handle=world.handle("two"))
    world.add("nightly", "odd", handle=world.handle("three", what=["<b>" * 200, "\x1b"]))
    tables.store(AUDIT, {**world.handle("one", what="Scrape prices"), "state": "running"}, where)
    runs = listed(world)
    assert (runs["one"]["what"], runs["two"]["what"]) == ("Scrape prices", None)
    assert len(runs["three"]["what"]) < 310
    assert runs["three"]["what"].isprintable()
    told = world.client("user").get("/runctl/history?dag_id=nightly&dag_run_id=r1&task_id=load").json()
    assert [record["what"] for record in told["records"]] == ["Scrape prices"]


def test_a_deadline_of_the_dag_run_is_a_limit(world: World) -> None:
    from airflow import settings
    from airflow.models.dagrun import DagRun
    from airflow.models.deadline import Deadline
    from sqlalchemy import delete, insert, select

    where = world.add("nightly", "load", handle=world.handle("one"))
    until = datetime(2026, 11, 26, 11, tzinfo=UTC)
    table = Deadline.__table__
    with settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Its callback is of no interest, and from version to version another one.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        number = connection.scalar(select(DagRun.id).where(DagRun.dag_id == where.dag_id))
        connection.execute(insert(table).values(dagrun_id=number, deadline_time=until, **_rest(table)))
        try:
            [due] = listed(world)["one"]["deadlines"]
        finally:
            connection.execute(delete(table))
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    assert datetime.fromisoformat(due["until"]) == until


def _rest(table: Any) -> dict[str, Any]:
    """Return what this Airflow also wants of a deadline."""
    from uuid import uuid4

    columns = table.c
    some: dict[str, Any] = {"id": uuid4(), "callback": {}, "missed": False, "callback_id": uuid4()}
    dates = {"created_at": datetime.now(UTC), "last_updated_at": datetime.now(UTC)}
    return {name: value for name, value in {**some, **dates}.items() if name in columns}


def test_what_a_user_may_not_do_is_not_offered(world: World) -> None:
    world.add("nightly", "load", handle=world.handle("it's one"))
    world.add("nightly", "wait", "up_for_retry", handle=world.handle("two"))
    world.add("nightly", "over", "failed", handle=world.handle("three"))
    runs = listed(world)
    told = {run["task_id"]: (run["may_stop"], run["ends_task"], run["needs_way"]) for run in runs.values()}
    assert told == {"load": (True, True, False), "wait": (True, True, True), "over": (True, False, True)}
    assert {run["may_stop"] for run in listed(world, "viewer").values()} == {False}
    assert runs["it's one"]["by_hand"]["stop"] == """runctl stop 'it'"'"'s one' --yes"""


@pytest.mark.parametrize(("here", "why"), [("True", None), ("False", "There is no Dag runctl_maintenance")])
def test_the_page_is_told_what_can_be_done(
    world: World, here: str, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__RUNCTL__ACT_IN_API_SERVER", here)
    ways = world.client("user").get("/runctl/ways").json()
    assert ways["here"] is (here == "True")
    assert (ways["why"] or "").startswith(why or "")
    assert (ways["why"] is None) is (why is None)


# -- looks -------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, name: str) -> None:
        self.where, self.handle = name, {"run_id": name}


def test_many_who_look_ask_the_vendor_once() -> None:
    asked: list[str] = []

    async def look(run: Any) -> RunStatus | str:
        asked.append(run.where)
        await asyncio.sleep(0)
        return RunStatus(RunState.SUSPENDED, "Suspended") if run.where == "one" else "not asked: why"

    async def all_look() -> Any:
        looks = Looks(look)
        first = await asyncio.gather(*(looks.at(Run("one")) for _ in range(20)))
        return first, await looks.at(Run("one")), await looks.at(Run("two"))

    first, later, other = asyncio.run(all_look())
    assert asked == ["one", "two"]
    assert {one.said for one in first} == {"Suspended (suspended)"}
    assert (later.state, later.at) == ("suspended", first[0].at)
    assert (other.said, other.state, other.at) == ("not asked: why", None, None)


def test_looks_are_bounded() -> None:
    async def look(run: Any) -> str:
        return "seen"

    async def too_many() -> list[str]:
        looks = Looks(look)
        return [(await looks.at(Run(str(number)))).said for number in range(MOST + 1)]

    said = asyncio.run(too_many())
    assert said == ["seen"] * MOST + [TOO_MANY]
