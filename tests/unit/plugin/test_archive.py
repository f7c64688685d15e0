"""What archived attempts left (Airflow 3.4): shown to whoever may sweep, as far as no record says that it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.compat import tables
from airflow_runctl.compat.archive import archived
from airflow_runctl.control import archive
from airflow_runctl.runs import HANDLE_KEY, TaskKey, digest_of
from tests.unit.plugin.conftest import World

pytestmark = pytest.mark.skipif(not tables.OF_AN_ATTEMPT, reason="XComs of earlier attempts are kept from 3.4 on")


class Attempts:
    """Makes attempts, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world

    def archive(self, where: TaskKey, *, ago: timedelta = timedelta(0)) -> None:
        """Make the latest attempt one that is over, as a clear does."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        tasks = TaskInstance.__table__
        here = (tasks.c.dag_id == where.dag_id, tasks.c.task_id == where.task_id)
        with create_session() as session:
            latest = tasks.update().where(*here, tasks.c.working_set.is_(True))
            at = datetime.now(UTC) - ago
            session.execute(latest.values(working_set=None, updated_at=at, end_date=at))

    def left(self, dag_id: str, run_id: str, task_id: str = "load", **more: Any) -> TaskKey:
        """Add a task instance whose first attempt left a run; return its place."""
        where = self.world.add(dag_id, task_id, "failed", handle=self.world.handle(run_id), **more)
        self.archive(where)
        return where

    def asked(self, role: str = "admin", **query: Any) -> list[tuple[str, bool]]:
        answer = self.world.client(role).get("/runctl/archived", params=query)
        assert answer.status_code == 200, answer.text
        return sorted((one["handle"]["run_id"], one["has_other"]) for one in answer.json()["handles"])


@pytest.fixture
def attempts(world: World) -> Attempts:
    return Attempts(world)


def test_the_sealed_handle_is_shown_with_its_attempt(world: World, attempts: Attempts) -> None:
    attempts.left("nightly", "lost")
    world.add("nightly", "load", "failed", try_number=2)
    answer = world.client("admin").get("/runctl/archived")
    assert answer.headers["cache-control"] == "no-store"
    [one] = answer.json()["handles"]
    assert one == {
        "dag_id": "nightly",
        "dag_run_id": "r1",
        "task_id": "load",
        "map_index": -1,
        "try_number": 1,
        "handle": world.handle("lost"),
        "has_other": False,
    }
    assert answer.json()["is_all"] is True


def test_what_the_latest_attempt_follows_and_what_is_recorded_as_over_is_left_out(
    world: World, attempts: Attempts
) -> None:
    attempts.left("nightly", "followed", "a")
    world.add("nightly", "a", handle=world.handle("followed"), try_number=2)
    attempts.left("nightly", "beside", "b")
    world.add("nightly", "b", handle=world.handle("another"), try_number=2)
    ended = {"run_id": "over", "started_at": world.handle("over")["started_at"], "state": "succeeded"}
    attempts.left("nightly", "over", "c", audit=ended)
    attempts.left("nightly", "over", "d")
    world.add("nightly", "d", audit=ended, try_number=2)
    assert attempts.asked() == [("beside", True)]
    assert attempts.asked(task_id="a") == []
    assert attempts.asked(dag_id="nightly", dag_run_id="r1", task_id="b", map_index=-1) == [("beside", True)]


def test_what_is_old_is_not_looked_for(world: World, attempts: Attempts) -> None:
    where = world.add("nightly", handle=world.handle("old"))
    attempts.archive(where, ago=archive.LOOK_BACK + timedelta(minutes=1))
    assert attempts.asked() == []


def test_no_more_than_so_many_are_given_out_and_that_there_are_more_is_said(
    world: World, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_runctl.plugin.source.MOST", 2)
    for number in range(3):
        attempts.left("nightly", f"run-{number}", f"load_{number}")
    answer = world.client("admin").get("/runctl/archived").json()
    assert ([one["handle"]["run_id"] for one in answer["handles"]], answer["is_all"]) == (["run-2", "run-1"], False)


def test_it_takes_three_questions_however_many_there_are(world: World, attempts: Attempts) -> None:
    from airflow import settings
    from sqlalchemy import event

    for number in range(30):
        attempts.left("nightly", f"run-{number}", f"load_{number}")
    client, asked = world.client("admin"), []
    client.get("/runctl/archived")

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if "xcom" in statement:
            asked.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        assert len(client.get("/runctl/archived").json()["handles"]) == 30
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)
    assert len(asked) == 3


def test_whoever_may_not_edit_or_not_read_xcoms_sees_none(
    world: World, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    where = attempts.left("nightly", "lost")
    digest = digest_of(world.handle("lost"))
    assert world.client("viewer").get("/runctl/archived").status_code == 403
    may = SimpleAuthManager.is_authorized_dag

    def no_xcoms(self: Any, *, access_entity: Any = None, **more: Any) -> bool:
        return access_entity is not DagAccessEntity.XCOM and may(self, access_entity=access_entity, **more)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", no_xcoms)
    assert attempts.asked() == []
    answer = world.client("admin").post("/runctl/archived/over", json=over(where, 1, digest))
    assert (answer.status_code, "nightly" in answer.text) == (403, True)
    assert archived(HANDLE_KEY, where) != []


def over(where: TaskKey, try_number: int, digest: str) -> dict[str, Any]:
    place = {"dag_id": where.dag_id, "dag_run_id": where.run_id, "task_id": where.task_id, "map_index": where.map_index}
    return {"over": [{**place, "try_number": try_number, "digest": digest}]}


def test_a_handle_is_taken_out_if_it_is_the_one_that_was_meant_and_its_attempt_is_over(
    world: World, attempts: Attempts
) -> None:
    where = attempts.left("nightly", "lost")
    world.add("nightly", "load", handle={**world.handle("own"), "token": "another"}, try_number=2)
    client, digest = world.client("admin"), digest_of(world.handle("lost"))
    for try_number, other in ((2, digest), (1, "0" * 64), (1, digest_of({"token": "another"}))):
        assert client.post("/runctl/archived/over", json=over(where, try_number, other)).status_code == 204
        assert attempts.asked() == [("lost", True)]
    assert client.post("/runctl/archived/over", json=over(where, 1, digest)).status_code == 204
    assert attempts.asked() == []
    stored = tables.stored(HANDLE_KEY, where)
    assert stored is not None
    assert stored[0]["run_id"] == "own"


def test_odd_handles_are_no_error(world: World, attempts: Attempts) -> None:
    where = world.add("nightly", handle={"run_id": "\ud800", "vendor": 7, "token": None})
    attempts.archive(where)
    where = world.add("nightly", "other", handle="nonsense")
    attempts.archive(where)
    answer = world.client("admin").get("/runctl/archived")
    assert (answer.status_code, len(answer.json()["handles"])) == (200, 1)
