"""Runs of a connection are watched with one list, which is believed nothing but that a run is as it was."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from airflow_runctl.control import rounds, watch
from airflow_runctl.control.rounds import follow_together
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.stop_many import Target, stop_target
from airflow_runctl.control.watch import Watched, follow
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, RunState, RunStatus, StopReason
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import NextLook
from tests.servers.listed_runs import ListedRuns

pytestmark = pytest.mark.usefixtures("brisk")

T = TypeVar("T")
INTERVAL = 0.1
ENOUGH = 30.0
"""Seconds within which a thing has to come about on the slowest machine."""

RUNS = [f"run-{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "POLL_PATIENCE", Patience(total=0.02))
    monkeypatch.setattr(rounds, "LIST_PATIENCE", Patience(total=0.02, answer=2 * ENOUGH))


@pytest.fixture
def server() -> Iterator[ListedRuns]:
    with ListedRuns(dict.fromkeys(RUNS, "Started")) as serving:
        yield serving


@pytest.fixture
def access(snaplogic: Access, server: ListedRuns) -> Access:
    return at(snaplogic, server)


def at(access: Access, server: ListedRuns, **changes: Any) -> Access:
    endpoint = dataclasses.replace(access.endpoint, base_url=server.url)
    return dataclasses.replace(access, endpoint=endpoint, **changes)


def run_named(access: Access, run_id: str) -> ExternalRun:
    return ExternalRun("snaplogic", access.conn_id, run_id, None, datetime.now(UTC), {"ruuid": run_id})


class Watchers:
    """Watchers of many runs in one event loop."""

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[Watched]] = {}
        self.runs: dict[str, ExternalRun] = {}
        self.told: dict[str, list[str]] = {}

    def begin(self, access: Access, *run_ids: str, interval: float = INTERVAL, **more: Any) -> None:
        for run_id in run_ids:
            run = self.runs[run_id] = run_named(access, run_id)
            self.tasks[run_id] = asyncio.create_task(self._watch(access, run, interval, more))

    async def _watch(self, access: Access, run: ExternalRun, interval: float, more: dict[str, Any]) -> Watched:
        async def heard(what: object) -> None:
            if isinstance(what, RunStatus):
                self.told.setdefault(run.run_id, []).append(what.vendor_state)

        arguments = {"by": "test", "poll_interval": interval, "limits": {}, "stop_timeout": 10.0, **more}
        return await follow_together(access, run, follow(access.vendor, run, **arguments), heard)

    async def ends(self, *run_ids: str) -> list[RunState | None]:
        """Return the states with which these were over."""
        found = await asyncio.wait_for(asyncio.gather(*(self.tasks[run_id] for run_id in run_ids)), ENOUGH)
        return [watched.status and watched.status.state for watched in found]

    async def leave(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def over(self) -> set[str]:
        return {run_id for run_id, task in self.tasks.items() if task.done()}


def go(doing: Callable[[Watchers], Coroutine[Any, Any, T]]) -> T:
    """Do it in an event loop of its own, as in one process; nobody watches any more when it is done."""

    async def inside() -> T:
        watchers = Watchers()
        try:
            return await doing(watchers)
        finally:
            await watchers.leave()

    return in_own_loop(inside())


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + ENOUGH
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def test_many_runs_of_a_connection_are_watched_with_one_list_and_one_look_in_an_interval(
    access: Access, server: ListedRuns
) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 8)

    go(doing)
    # Each was looked at once at the beginning; each list takes one look along.
    assert server.count("look") <= len(RUNS) + server.count("list")
    assert len(server.looks()) == len(RUNS)


def test_a_list_takes_along_whoever_would_be_due_before_the_next_one(access: Access, server: ListedRuns) -> None:
    """Two lots that are due most of an interval apart would have a list each."""
    interval = 1.0

    async def watching() -> list[float]:
        watchers = rounds.Rounds(access)
        looks = [NextLook(run_named(access, run_id), "Started", interval) for run_id in RUNS]
        tasks = [asyncio.create_task(watchers.next_look(look)) for look in looks]
        await asyncio.sleep(0)
        resting = [one for look in looks for one in watchers._resting[rounds._key(look.run)]]
        for one in resting[:6]:  # as if they had begun so much sooner
            one.due -= 0.7 * interval
            watchers._set_timer(one)
        await until(lambda: server.count("list") == 1 and watchers._asking is None)
        now = asyncio.get_running_loop().time()
        due = [one.due - now for one in resting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return due

    assert min(in_own_loop(watching())) > 0.8 * interval


def test_each_run_has_its_turn_to_be_looked_at_itself(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS)
        await until(lambda: min(server.looks()[run_id] for run_id in RUNS) >= 2)

    go(doing)


@pytest.mark.parametrize(
    ("word", "state"),
    [("Completed", RunState.SUCCEEDED), ("Failed", RunState.FAILED), ("Suspended", RunState.SUSPENDED)],
)
def test_run_that_ends_is_noticed_and_the_others_go_on(
    access: Access, server: ListedRuns, word: str, state: RunState
) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 2)
        last = [run for what, run, _ in server.requests if what == "look"][-1]
        server.states[last] = word
        asked = server.count("list")
        assert await watchers.ends(last) == [state]
        assert watchers.over() == {last}
        assert server.count("list") - asked < 6, "before its turn to be looked at itself came again"

    go(doing)


def test_change_of_state_is_told_of_its_own_run_alone(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> dict[str, list[str]]:
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 2)
        server.states["run-5"] = "Stopping"
        await until(lambda: "Stopping" in watchers.told["run-5"])
        return watchers.told

    told = go(doing)
    assert told.pop("run-5") == ["Started", "Stopping"]
    assert set(map(tuple, told.values())) == {("Started",)}


def test_few_runs_are_looked_at_without_a_list(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS[:2])
        await until(lambda: server.count("look") >= 8)

    go(doing)
    assert server.count("list") == 0


# -- a list that says something else ------------------------------------------------------------------------


def test_vendor_that_cannot_list_is_asked_for_each_run(
    access: Access, server: ListedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(access.vendor), "can_glance", False)

    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS)
        await until(lambda: min(server.looks()[run_id] for run_id in RUNS) >= 3)

    go(doing)
    assert server.count("list") == 0


def test_end_that_only_the_list_shows_is_not_believed(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        server.listed = lambda: {**server.states, "run-1": "Completed", "run-2": "Nonsense"}
        watchers.begin(access, *RUNS)
        await until(lambda: server.looks()["run-1"] >= 4 and server.looks()["run-2"] >= 4)
        assert watchers.over() == set()

    go(doing)


def test_run_that_the_list_leaves_out_is_looked_at_itself(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        server.listed = lambda: {run: state for run, state in server.states.items() if run != "run-1"}
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 6)
        assert server.looks()["run-1"] >= 5, "not in its turn alone"
        server.states["run-1"] = "Completed"
        assert await watchers.ends("run-1") == [RunState.SUCCEEDED]

    go(doing)


def test_list_that_stays_behind_is_found_out_and_not_asked_any_more(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        before = dict(server.states)
        server.listed = lambda: before
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 2)
        asked = server.count("list")
        server.states = dict.fromkeys(RUNS, "Completed")
        assert set(await watchers.ends(*RUNS)) == {RunState.SUCCEEDED}
        assert server.count("list") - asked < 6, "before each had its turn"

    go(doing)


def test_list_that_is_behind_once_is_asked_again_later(
    access: Access, server: ListedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "AFTER_OLD_LIST", 0.3)

    async def doing(watchers: Watchers) -> None:
        before = dict(server.states)
        server.listed = lambda: before
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 2)
        for run_id in RUNS[:6]:
            server.states[run_id] = "Completed"
        await watchers.ends(*RUNS[:6])
        server.listed = lambda: server.states
        asked = server.count("list")
        await until(lambda: server.count("list") >= asked + 5)

    go(doing)


ODD_LISTS = [
    (403, {"response_map": {"error_list": [{"message": "no right to list"}]}, "http_status_code": 403}),
    (500, b"oops"),
    (200, b"<html>"),
    (200, {"response_map": {"entries": "none"}, "http_status_code": 200}),
    (200, {"response_map": {"entries": [{"state": "Started"}], "total": 1}, "http_status_code": 200}),
    (200, {"response_map": {"entries": [None, 7], "total": 2}, "http_status_code": 200}),
    (200, {"response_map": {"entries": [], "total": 10**9}, "http_status_code": 200}),
]


@pytest.mark.parametrize("answer", ODD_LISTS, ids=lambda answer: str(answer)[:40])
def test_list_that_is_of_no_use_keeps_nobody_from_looking(access: Access, server: ListedRuns, answer: Any) -> None:
    async def doing(watchers: Watchers) -> None:
        server.list_answer = answer
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 1)
        for run_id in RUNS:
            server.states[run_id] = "Completed"
        assert set(await watchers.ends(*RUNS)) == {RunState.SUCCEEDED}

    go(doing)


def test_list_that_hangs_holds_up_no_limit_and_no_run_that_just_began(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        server.hold_list.clear()
        limit = time.time() + 1.0
        watchers.begin(access, *RUNS[:8], limits={StopReason.MAX_RUNTIME.value: limit})
        await until(lambda: server.count("list") == 1)
        server.states["run-9"] = "Completed"
        watchers.begin(access, "run-9")
        assert await watchers.ends("run-9") == [RunState.SUCCEEDED]
        found = await asyncio.wait_for(asyncio.gather(*(watchers.tasks[run_id] for run_id in RUNS[:8])), ENOUGH)
        assert {watched.limit for watched in found} == {StopReason.MAX_RUNTIME}
        assert not server.hold_list.is_set()

    go(doing)


def test_run_whose_looks_fail_is_lost_though_the_list_shows_it(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> Watched:
        watchers.begin(access, *RUNS, ride_out=1.0)
        await until(lambda: server.count("list") >= 2)
        server.broken = {"run-4"}
        looks = server.looks()["run-4"]
        lost = await asyncio.wait_for(watchers.tasks["run-4"], ENOUGH)
        assert watchers.over() == {"run-4"}
        assert server.looks()["run-4"] - looks >= 5, "once in each interval, now that a look failed"
        return lost

    assert "HTTP 500" in (go(doing).lost or "")


# -- watchers, connections -----------------------------------------------------------------------------------


def test_watchers_come_and_go_and_the_list_goes_on_for_the_others(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS[:4])
        await until(lambda: server.count("list") >= 1)
        server.hold_list.clear()
        asked = server.count("list")
        await until(lambda: server.count("list") > asked)
        for run_id in RUNS[:3]:
            watchers.tasks[run_id].cancel()
        watchers.begin(access, *RUNS[4:])
        server.hold_list.set()
        await until(lambda: server.count("list") >= asked + 4)
        assert watchers.over() == set(RUNS[:3])
        assert all(watchers.tasks[run_id].cancelled() for run_id in RUNS[:3])
        server.states["run-3"] = server.states["run-7"] = "Completed"
        assert await watchers.ends("run-3", "run-7") == [RunState.SUCCEEDED] * 2

    go(doing)


def test_connection_that_changed_is_not_mixed_with_what_it_was(access: Access, server: ListedRuns) -> None:
    changed: Any = dataclasses.replace(access.vendor, headers={"Authorization": "Basic bmV3Om5ldw=="})  # type: ignore[type-var]

    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS[:6])
        watchers.begin(dataclasses.replace(access, vendor=changed), *RUNS[6:])
        await until(lambda: len({by for what, _, by in server.requests if what == "list"}) == 2)

    go(doing)
    looks = {(run, by) for what, run, by in server.requests if what == "look"}
    assert {run for run, by in looks if by == "Basic bmV3Om5ldw=="} == set(RUNS[6:])
    assert len(looks) == len(RUNS)


def test_vendor_that_is_down_holds_up_no_other_connection(access: Access, server: ListedRuns) -> None:
    with ListedRuns(dict.fromkeys(RUNS, "Started")) as other:

        async def doing(watchers: Watchers) -> None:
            watchers.begin(at(access, other, conn_id="other"), *RUNS[:6])
            await until(lambda: other.count("list") >= 1)
            other.hold_list.clear()
            watchers.begin(access, *RUNS[6:])
            await until(lambda: server.count("list") >= 5)
            server.states["run-7"] = "Completed"
            assert await watchers.ends("run-7") == [RunState.SUCCEEDED]

        go(doing)


@pytest.mark.parametrize("lists", [True, False])
def test_run_that_was_stopped_in_this_process_is_looked_at_at_once(
    access: Access, server: ListedRuns, lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a vendor that has no list, too."""
    monkeypatch.setattr(type(access.vendor), "can_glance", lists)

    class Nowhere:
        writable = False

    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS, interval=3600.0)
        await until(lambda: len(watchers.told) == len(RUNS))
        channel: Any = Nowhere()
        await stop_target(
            channel, Target(watchers.runs["run-2"], access, {}), StopNote(StopReason.DEADLINE, "test"), 10.0
        )
        assert await watchers.ends("run-2") == [RunState.STOPPED]
        assert watchers.over() == {"run-2"}

    go(doing)


def test_what_is_logged_of_a_list_lands_in_no_task_s_log(
    access: Access, server: ListedRuns, caplog: pytest.LogCaptureFixture
) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody")
    logged: list[tuple[str, str]] = []

    class ByContext(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append((whose.get(), record.getMessage()))

    handler = ByContext()
    logging.getLogger("airflow_runctl").addHandler(handler)
    caplog.set_level(logging.DEBUG, "airflow_runctl")

    async def doing(watchers: Watchers) -> None:
        server.list_answer = (500, b"oops")
        for run_id in RUNS:
            whose.set(run_id)
            watchers.begin(access, run_id)
        await until(lambda: any("No list" in text for _, text in logged))

    with contextlib.ExitStack() as after:
        after.callback(logging.getLogger("airflow_runctl").removeHandler, handler)
        go(doing)
    assert {who for who, text in logged if "No list" in text} == {"nobody"}


# -- how often -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "interval", "expected"),
    [(0, 10, 10), (900, 10, 10), (3000, 10, 30), (6000, 10, 60), (1e6, 10, 60), (1e6, 300, 300), (3000, 0.5, 30)],
)
def test_old_run_is_looked_at_less_often_but_never_less_than_once_a_minute(
    access: Access, age: float, interval: float, expected: float
) -> None:
    now = time.time()
    run = dataclasses.replace(run_named(access, "run-1"), started_at=datetime.fromtimestamp(now - age, UTC))
    seconds = {watch._seconds(interval, run, now) for _ in range(200)}
    assert expected <= min(seconds) < expected * 1.05 < max(seconds) <= expected * 1.1


def test_interval_that_somebody_counts_himself_is_kept(access: Access) -> None:
    now = time.time()
    run = dataclasses.replace(run_named(access, "run-1"), started_at=datetime.fromtimestamp(now - 1e6, UTC))
    assert watch._seconds(lambda: 5.0, run, now) == pytest.approx(5.0, rel=0.11)


# -- what a stranger found ---------------------------------------------------------------------------------


def test_late_lists_leave_one_timer_for_each_who_rests(access: Access, server: ListedRuns) -> None:
    """A list that takes longer than others' intervals: they become due meanwhile."""

    async def doing(watchers: Watchers) -> None:
        for number, run_id in enumerate(RUNS):
            watchers.begin(access, run_id, interval=INTERVAL * (1 + number % 3))
        loop: Any = asyncio.get_running_loop()
        asked = 0
        for _ in range(12):
            server.hold_list.clear()
            await until(lambda asked=asked: server.count("list") > asked)
            asked = server.count("list")
            await asyncio.sleep(4 * INTERVAL)
            server.hold_list.set()
            await until(lambda: not rounds._rounds_of(access)._asking)  # type: ignore[union-attr]
        resting = [one for same in rounds._rounds_of(access)._resting.values() for one in same]  # type: ignore[union-attr]
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]
        assert len(timers) <= 2 * len(resting) + 5
        await watchers.leave()
        await asyncio.sleep(0)
        assert [handle for handle in loop._scheduled if handle.when() == math.inf and not handle.cancelled()] == []

    go(doing)


def test_list_that_is_refused_for_too_many_calls_is_not_made_up_for_by_looks(
    access: Access, server: ListedRuns
) -> None:
    async def doing(watchers: Watchers) -> int:
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 2 and len(server.looks()) == len(RUNS))
        server.list_answer = (429, b"slow down")
        # Known here, not only answered there: until then runs are looked at as before.
        await until(lambda: rounds._rounds_of(access)._singly_every)  # type: ignore[union-attr]
        looks = server.count("look")
        await asyncio.sleep(20 * INTERVAL)
        return server.count("look") - looks

    assert go(doing) <= 3


def test_vendor_that_asks_to_wait_is_looked_at_no_sooner(access: Access, server: ListedRuns) -> None:
    async def doing(watchers: Watchers) -> int:
        server.look_answer = (429, b"slow down", {"Retry-After": "30"})
        watchers.begin(access, *RUNS, ride_out=60.0)
        await until(lambda: min(server.looks()[run_id] for run_id in RUNS) >= 1)
        looks = server.count("look")
        await asyncio.sleep(10 * INTERVAL)
        return server.count("look") - looks

    assert go(doing) == 0


def test_list_of_many_slow_pages_is_given_up(
    access: Access, server: ListedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LONGEST_LIST", 0.2)
    monkeypatch.setattr("airflow_runctl.vendors.snaplogic.api.PAGE", 2)
    monkeypatch.setattr("airflow_runctl.vendors.snaplogic.vendor.PAGE", 2)
    server.list_seconds = 0.3

    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS)
        await until(lambda: server.count("list") >= 1)
        server.states["run-7"] = "Completed"
        assert await watchers.ends("run-7") == [RunState.SUCCEEDED]
        assert server.count("list") <= 2

    go(doing)


def test_clock_that_jumps_over_a_limit_is_noticed_with_the_next_list(
    access: Access, server: ListedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def doing(watchers: Watchers) -> None:
        watchers.begin(access, *RUNS, limits={StopReason.MAX_RUNTIME.value: time.time() + 3000})
        await until(lambda: server.count("list") >= 2)
        real, asked = time.time, server.count("list")
        for module in (rounds, watch):
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: real() + 3600))
        found = await asyncio.wait_for(asyncio.gather(*watchers.tasks.values()), ENOUGH)
        assert {watched.limit for watched in found} == {StopReason.MAX_RUNTIME}
        assert server.count("list") - asked < 6, "before each had its turn to be looked at itself"

    go(doing)
