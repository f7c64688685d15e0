"""The routes that tell what became of runs: of which Dags, from which records, and what nobody can know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.runs import HISTORY_KEY
from tests.unit.plugin.conftest import SECRET, XCOMS, World

STOP = {"reason": "by_hand", "by": "uma", "text": "wrong", "asked_at": "", "outcome": "stopped", "seconds": 2.0}


def audit(world: World, run_id: str, *, ago: float = 600, stop: Any = STOP, state: str = "stopped") -> dict[str, Any]:
    began = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    return {**world.handle(run_id, started_at=began), "state": state, "vendor_state": state.title(), "stop": stop}


def ask(world: World, path: str, role: str = "viewer") -> Any:
    answer = world.client(role).get(f"/runctl/{path}")
    assert SECRET not in answer.text
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_dag_run_has_its_runs_living_and_over(world: World) -> None:
    world.add("nightly", "load", handle=world.handle("alive"))
    world.add("nightly", "check", "failed", audit=audit(world, "over"))
    world.add("nightly", "other", "failed", audit=audit(world, "elsewhere"), run_id="r2")
    answer = ask(world, "history?dag_id=nightly&dag_run_id=r1")
    over, alive = answer["records"]
    assert (over["run_id"], over["live"], over["state"], over["stop"]["text"]) == ("over", None, "stopped", "wrong")
    assert (alive["run_id"], alive["live"]["standing"], alive["state"]) == ("alive", "owned", None)
    assert answer["is_all"] is True
    [only] = ask(world, "history?dag_id=nightly&dag_run_id=r1&task_id=check&map_index=-1")["records"]
    assert only == over


def test_an_audit_of_an_earlier_run_is_not_taken_for_the_live_ones(world: World) -> None:
    world.add("nightly", "load", handle=world.handle("new"), audit=audit(world, "old"))
    [record] = ask(world, "history?dag_id=nightly&dag_run_id=r1")["records"]
    assert (record["run_id"], record["state"], record["stop"]) == ("new", None, None)


def test_events_are_shown_as_far_as_they_make_sense(world: World) -> None:
    from airflow_runctl.compat import tables

    where = world.add("nightly", "load", handle=world.handle("one"))
    events = [
        {"event": "started", "at": "2026-11-26T03:00:00+00:00", "by": "worker", "seconds": 0.5, "try_number": 1},
        "nonsense",
        {"event": 7, "seconds": "x", "try_number": "y", "token": SECRET},
    ]
    tables.store(HISTORY_KEY, events, where)
    [record] = ask(world, "history?dag_id=nightly&dag_run_id=r1")["records"]
    [started] = record["events"]
    assert (started["event"], started["by"], started["seconds"], started["try_number"]) == ("started", "worker", 0.5, 1)


def test_a_stop_that_only_the_audit_record_tells_of_is_among_the_events(world: World) -> None:
    asked = "2026-11-26T03:00:00+00:00"
    world.add("nightly", "check", "failed", audit=audit(world, "over", stop={**STOP, "asked_at": asked}))
    [record] = ask(world, "history?dag_id=nightly&dag_run_id=r1")["records"]
    assert [(event["event"], event["why"]) for event in record["events"]][:1] == [("stop", "by_hand: wrong")]


def test_what_a_user_may_not_see_is_in_no_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    may = SimpleAuthManager.is_authorized_dag

    def only_weekly(self: Any, *, details: Any = None, **more: Any) -> bool:
        return (details is None or details.id in (None, "weekly")) and may(self, details=details, **more)

    world.add("nightly", "check", "failed", audit=audit(world, "over"))
    world.add("weekly", "check", "failed", audit=audit(world, "mine"))
    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", only_weekly)
    assert ask(world, "history?dag_id=nightly&dag_run_id=r1") == {"records": [], "is_all": True}
    assert ask(world, "stops")["records"] == 1
    assert ask(world, "stops?dag_id=nightly")["records"] == 0


def test_stops_and_times_are_summed_up(world: World) -> None:
    for number, seconds in enumerate((100, 300, 800)):
        world.add("nightly", f"t{number}", "failed", audit=audit(world, f"r{number}", ago=seconds))
    meant = {**STOP, "reason": "deadline", "outcome": None, "seconds": None}
    world.add("nightly", "t3", handle=world.handle("r3"), audit=audit(world, "r3", state="running", stop=meant))
    world.add("nightly", "t4", "success", audit=audit(world, "r4", stop=None, state="succeeded"))
    world.add("nightly", "t5", "success", audit="nonsense")
    answer = ask(world, "stops?days=3")
    assert (answer["records"], answer["is_all"]) == (6, True)
    assert answer["stops"] == [
        {"reason": "by_hand", "outcome": "stopped", "count": 3, "median": 2.0},
        {"reason": "deadline", "outcome": None, "count": 1, "median": None},
    ]
    stopped = next(one for one in answer["lengths"] if one["state"] == "stopped")
    assert (stopped["vendor"], stopped["count"]) == ("bctrl", 3)
    assert 300 <= stopped["median"] < 310
    assert 800 <= stopped["longest"] < 810


def test_what_was_recorded_before_those_days_does_not_count(world: World) -> None:
    from airflow.utils.session import create_session
    from sqlalchemy import text

    world.add("nightly", "old", "failed", audit=audit(world, "r1"))
    with create_session() as session:
        before = {"at": datetime.now(UTC) - timedelta(days=8)}
        session.execute(text(f"UPDATE {XCOMS} SET timestamp = :at"), before)
    assert ask(world, "stops")["records"] == 0
    assert ask(world, "stops?days=9")["records"] == 1
