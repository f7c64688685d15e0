"""A task and the run that it takes for its own: put right by the call's answer, told from siblings' runs, kept open
where nothing tells."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.compat import IS_AIRFLOW_2, AirflowFailException
from airflow_runctl.control.records import AUDIT_KEY, TURN_KEY
from airflow_runctl.control.stop import StopNote
from airflow_runctl.exceptions import LimitReached, RunFailed, StartsMixUp
from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator
from airflow_runctl.runs import StopReason
from airflow_runctl.sandbox.client import Sandbox, eventually
from tests.fakes.airflow_3 import FakeAirflow
from tests.unit.later import Later
from tests.unit.operators.tasks import FINAL, Tasks, sigterm
from tests.unit.vendors.snaplogic.runs import somebody_starts
from tests.unit.versions import ErrorOfAKilledTask, needs_task_store

pytestmark = pytest.mark.usefixtures("brisk")

SETTLED: float = 1.0
"""``settling_time`` of the connection in these tests, seconds."""


@pytest.fixture(autouse=True)
def unhurried(brisk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look less often than elsewhere: these tests wait for seconds, and a look is nine requests."""
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOOK_EVERY", 0.2)


@pytest.fixture
def strangers(fake: FakeAirflow, connections: Any, box: Sandbox) -> "Strangers":
    fake.connections["snaplogic_default"]["extra"]["settling_time"] = str(SETTLED)
    return Strangers(connections.access("snaplogic_default"), box)


class Strangers:
    """Somebody else who starts the same pipeline a moment after the task, and whose run is listed first."""

    def __init__(self, access: Any, box: Sandbox) -> None:
        self.access, self.box = access, box

    def come_first(self, *, answer_after: float, **behaviour: Any) -> Later:
        """Let ours be listed, and named by its call, only after the stranger's was taken for it."""
        delay = {"answers": "early", "list_delay_seconds": answer_after - 0.1}
        self.box.behave("snaplogic", "early-hang", **delay)
        self.box.fault("snaplogic", "start", "latency", seconds=answer_after, after_effect=True, count=1)

        def start() -> None:
            self.box.behave("snaplogic", "early-hang", list_delay_seconds=0.0, **behaviour)
            somebody_starts(self.access, "/Acme/projects/sales/early-hang")

        return Later(self.box.runs, start)

    def theirs(self) -> dict[str, Any]:
        run: dict[str, Any] = self.box.runs()[1]
        return run

    def ours(self) -> dict[str, Any]:
        run: dict[str, Any] = self.box.runs()[0]
        return run


# -- the answer comes after another run was taken for ours -----------------------------------------------


def test_answer_puts_right_what_the_list_showed_and_the_limit_stops_ours(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    handles: list[str] = []
    tasks.fake.on_message = lambda message: (
        handles.append(message.value["run_id"])
        if type(message).__name__ == "SetXCom" and message.key == "external_run"
        else None
    )
    with strangers.come_first(answer_after=2.5):
        attempt = tasks.run(lambda **more: tasks.snaplogic(max_runtime=timedelta(seconds=5), **more))
    assert isinstance(attempt.error, LimitReached)
    assert handles[:2] == [strangers.theirs()["run_id"], strangers.ours()["run_id"]]
    assert (strangers.theirs()["open"], strangers.theirs()["stop_requests"]) == (True, 0)
    assert not strangers.ours()["open"]
    assert "is somebody else's, and is let go" in tasks.fake.everything()
    assert tasks.audit()["run_id"] == strangers.ours()["run_id"]


def test_strangers_run_that_ends_meanwhile_is_not_the_end_of_ours(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    def ours_fails() -> None:
        eventually(lambda: (tasks.handle() or {}).get("run_id") == strangers.ours()["run_id"])
        box.set_run(strangers.ours()["run_id"], "Failed")

    with strangers.come_first(answer_after=2.6, run_seconds=1.8), Later(tasks.handle, ours_fails):
        attempt = tasks.run(tasks.snaplogic)
    assert isinstance(attempt.error, RunFailed)
    assert strangers.ours()["run_id"] in attempt.said
    assert strangers.theirs()["state"] == "Completed"


def test_kill_reaches_the_run_that_the_answer_names(tasks: Tasks, strangers: Strangers, box: Sandbox) -> None:
    def kill() -> None:
        eventually(lambda: not _open_calls())
        sigterm()

    with strangers.come_first(answer_after=2.5), Later(tasks.handle, kill):
        attempt = tasks.run(tasks.snaplogic)
    assert isinstance(attempt.error, ErrorOfAKilledTask)
    assert (strangers.theirs()["open"], strangers.theirs()["stop_requests"]) == (True, 0)
    eventually(lambda: not strangers.ours()["open"])


@pytest.mark.parametrize("how", ["deferred", "not waited for"])
def test_answer_is_heeded_before_the_task_lets_go_of_its_call(
    tasks: Tasks, strangers: Strangers, box: Sandbox, how: str
) -> None:
    def slow_airflow(message: Any) -> None:
        if type(message).__name__ == "SetXCom" and message.key == "external_run":
            eventually(lambda: not _open_calls())

    tasks.fake.on_message = slow_airflow
    more = {"deferrable": True} if how == "deferred" else {"wait_for_completion": False}
    with strangers.come_first(answer_after=2.5):
        attempt = tasks.fake.run(tasks.snaplogic(**more))
    assert attempt.state == ("deferred" if how == "deferred" else "success")
    assert tasks.handle()["run_id"] == strangers.ours()["run_id"]
    if attempt.deferral is not None:
        assert attempt.deferral.trigger_kwargs["external_run"]["run_id"] == strangers.ours()["run_id"]


def _open_calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "runctl-open-call"]


# -- nothing tells -----------------------------------------------------------------------------------------


def ambiguous(tasks: Tasks, strangers: Strangers, box: Sandbox) -> Any:
    """An attempt that ends since nothing tells which of two runs is its own."""
    box.behave("snaplogic", "hang", stop_seconds=0.02)
    rival = Later(box.runs, lambda: somebody_starts(strangers.access, "/Acme/projects/sales/hang"))
    with rival:
        return tasks.run(lambda **more: tasks.snaplogic("hang", **more), retries=3)


def test_candidates_of_an_ambiguous_start_are_kept_and_none_is_stopped(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    attempt = ambiguous(tasks, strangers, box)
    assert attempt.state == FINAL
    names = sorted(run["run_id"] for run in box.runs())
    assert tasks.audit() == {
        "vendor": "snaplogic",
        "conn_id": "snaplogic_default",
        "state": "ambiguous",
        "candidates": names,
    }
    assert [run["stop_requests"] for run in box.runs()] == [0, 0]


@needs_task_store
def test_after_an_ambiguous_start_a_clear_starts_nothing_beside_a_candidate_that_lives(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    ambiguous(tasks, strangers, box)
    first, second = box.runs()
    box.set_run(first["run_id"], "Completed")
    attempt = tasks.run(lambda **more: tasks.snaplogic("hang", **more), try_number=2, retries=4)
    assert isinstance(attempt.error, AirflowFailException)
    assert f"nothing tells which: {second['run_id']}. None was stopped, and none started" in attempt.said
    assert len(box.runs()) == 2


@needs_task_store
def test_after_an_ambiguous_start_a_clear_starts_anew_once_all_candidates_are_over(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    ambiguous(tasks, strangers, box)
    for run in box.runs():
        box.set_run(run["run_id"], "Completed")
    with Later(tasks.handle, lambda: box.set_run(box.runs()[2]["run_id"], "Completed")):
        attempt = tasks.run(lambda **more: tasks.snaplogic("hang", **more), try_number=2, retries=4)
    assert attempt.state == "success"
    assert attempt.result["run_id"] == box.runs()[2]["run_id"]


# -- siblings' runs ----------------------------------------------------------------------------------------


LISTED_AFTER = 1.5
"""Seconds after which the run of the lost start is listed: the attempt that made it does not find it."""


@pytest.fixture
def lost(brisk: None, tasks: Tasks, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Item 0 has made a run, which is listed late, and lost the answer of its call; further runs are listed at once."""
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOST_CALL_LOOKS", 1)
    box.behave("snaplogic", "early-hang", list_delay_seconds=LISTED_AFTER)
    box.fault("snaplogic", "start", "cut", after_effect=True, count=1)
    tasks.run(tasks.snaplogic, retries=1, map_index=0)
    box.behave("snaplogic", "early-hang", list_delay_seconds=0.0)
    made_at = datetime.fromisoformat(tasks.only()["created_at"])
    eventually(lambda: datetime.now(UTC) > made_at + timedelta(seconds=LISTED_AFTER))


@needs_task_store
@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize("over", [False, True], ids=["living", "over"])
def test_further_try_of_a_lost_start_takes_no_siblings_run_for_its_own(tasks: Tasks, box: Sandbox, over: bool) -> None:
    if over:
        with Later(lambda: tasks.handle(map_index=1), lambda: box.set_run(box.runs()[1]["run_id"], "Completed")):
            tasks.run(tasks.snaplogic, map_index=1)
    else:
        tasks.fake.run(tasks.snaplogic(deferrable=True), map_index=1)
    ours, siblings = box.runs()
    with Later(lambda: tasks.handle(map_index=0), lambda: box.set_run(ours["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2, map_index=0)
    assert attempt.state == "success", attempt.said
    assert attempt.result["run_id"] == ours["run_id"]
    assert siblings["stop_requests"] == 0


@needs_task_store
@pytest.mark.usefixtures("lost")
def test_further_try_looks_for_a_lost_run_though_it_cannot_say_so(tasks: Tasks, box: Sandbox) -> None:
    """To fail there would leave the run to itself."""
    tasks.fake.refuse("SetXCom", key=AUDIT_KEY)
    ours = tasks.only()
    with Later(lambda: tasks.handle(map_index=0), lambda: box.set_run(ours["run_id"], "Completed")):
        attempt = tasks.run(tasks.snaplogic, try_number=2, map_index=0)
    assert attempt.state == "success", attempt.said
    assert attempt.result["run_id"] == ours["run_id"]


@needs_task_store
@pytest.mark.usefixtures("strangers", "lost")
def test_sibling_whose_record_does_not_open_rules_no_run_out(tasks: Tasks, box: Sandbox) -> None:
    """A forged claim must not make somebody else's run the only one that is left."""
    tasks.fake.run(tasks.snaplogic(deferrable=True), map_index=1)
    ours, _ = box.runs()
    forged = {**tasks.handle(map_index=1), "run_id": ours["run_id"], "token": "gAAAA"}
    tasks.fake.put_xcom("start", "external_run", forged, 1)
    tasks.fake.put_xcom("start", AUDIT_KEY, forged, 1)
    attempt = tasks.run(tasks.snaplogic, try_number=2, map_index=0)
    assert isinstance(attempt.error, AirflowFailException)
    assert "Nothing tells which it is of" in attempt.said
    assert [run["stop_requests"] for run in box.runs()] == [0, 0]


@needs_task_store
@pytest.mark.usefixtures("strangers", "lost")
def test_after_a_further_try_could_not_tell_a_clear_starts_nothing_beside_what_lives(
    tasks: Tasks, strangers: Strangers, box: Sandbox
) -> None:
    """What was written ahead is still there to look by."""
    somebody_starts(strangers.access, "/Acme/projects/sales/early-hang")
    assert "Nothing tells which it is of" in tasks.run(tasks.snaplogic, try_number=2, map_index=0).said
    attempt = tasks.run(tasks.snaplogic, try_number=3, retries=2, map_index=0)
    assert isinstance(attempt.error, AirflowFailException)
    assert "started one of these runs, which are alive" in attempt.said
    assert all(run["run_id"] in attempt.said for run in box.runs())
    assert [run["stop_requests"] for run in box.runs()] == [0, 0]


@pytest.mark.skipif(IS_AIRFLOW_2, reason="the fake of Airflow 2 has no states of mapped tasks that do not run")
def test_deadline_reaches_a_start_that_waits_for_its_turn(tasks: Tasks, box: Sandbox) -> None:
    """It would not see a run of it, nor wait for one: none is made."""
    alike = {"pipeline": "early-hang", "project": "/Acme/projects/sales"}
    turn = {"came": time.time() - 1, "alike": alike, "since": time.time()}
    tasks.fake.states["start_0"] = "running"
    tasks.fake.put_xcom("start", TURN_KEY, turn, 0)

    def deadline() -> None:
        audit = tasks.audit(map_index=1)
        assert audit["state"] == "starting"
        note = StopNote(StopReason.DEADLINE, "deadline callback", "too late").out()
        tasks.fake.put_xcom("start", AUDIT_KEY, {**audit, "stop": note}, 1)
        tasks.fake.put_xcom("start", TURN_KEY, None, 0)

    with Later(lambda: tasks.audit(map_index=1), deadline):
        attempt = tasks.run(tasks.snaplogic, map_index=1, retries=1)
    assert isinstance(attempt.error, AirflowFailException)
    assert "A stop was asked for before the start (deadline): none was made." in attempt.said
    assert box.requests(operation="start") == []


# -- when the Dag is parsed --------------------------------------------------------------------------------

MAPPED = {"task_id": "start", "task_path": "projects/sales/hang"}


@pytest.mark.parametrize("more", [{"pool": "one"}, {"returns_ruuid": True}], ids=str)
def test_mapped_start_that_is_safe_is_not_warned_of(
    tasks: Tasks, more: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    with tasks.fake.dag():
        SnapLogicTriggerTaskOperator.partial(**MAPPED, **more).expand(parameters=[{"n": "1"}])
    assert [warning for warning in recwarn if warning.category is StartsMixUp] == []


def test_mapped_start_that_is_not_is_warned_of_with_the_two_ways_out(tasks: Tasks) -> None:
    with (
        tasks.fake.dag(),
        pytest.warns(StartsMixUp, match=r"'start' is mapped.*returns_ruuid=True.*pool of one slot.*deferrable=True"),
    ):
        SnapLogicTriggerTaskOperator.partial(**MAPPED).expand(parameters=[{"n": "1"}])


# -- a token in the task's URL -----------------------------------------------------------------------------


def test_token_in_the_tasks_url_travels_in_a_header_and_is_never_shown(tasks: Tasks, box: Sandbox) -> None:
    token = tasks.fake.connections["snaplogic_default"]["extra"].pop("task_token")
    base = tasks.fake.connections["snaplogic_default"]["host"]
    url = f"{base}/api/1/rest/slsched/feed/Acme/projects/sales/early-hang?region=EU&bearer_token={token}"
    with Later(tasks.handle, lambda: box.set_run(tasks.only()["run_id"], "Completed")):
        attempt = tasks.run(lambda **more: tasks.snaplogic(task_path=None, task_url=url, **more))
    assert attempt.state == "success", attempt.said
    (call,) = box.requests(operation="start")
    assert call["headers"]["Authorization"] == f"Bearer {token}"
    assert "bearer_token" not in str(call["query"])
    assert tasks.only()["inputs"]["parameters"] == {"region": "EU"}
    assert tasks.fake.rendered[-1]["task_url"].endswith("early-hang?region=EU")
