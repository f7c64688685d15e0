"""Many stops at once: none waits behind another's time-outs, all are sent before any is confirmed, one hangs alone."""

import asyncio
import dataclasses
import gc
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from airflow_runctl.control import garbage, stop_many
from airflow_runctl.control.stop import StopNote
from airflow_runctl.control.stop_many import Report, Target, stop_target
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, StopOutcome, StopReason, TaskKey
from airflow_runctl.transport import turns
from airflow_runctl.transport.aio import in_own_loop
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import HttpRequest
from tests.servers.many_runs import ManyRuns

pytestmark = pytest.mark.usefixtures("brisk")

T = TypeVar("T")
NOTE = StopNote(StopReason.DEADLINE, "test")
AT_ONCE = 4


class Nowhere:
    """A process that can write nothing."""

    writable = False


@pytest.fixture
def server() -> Iterator[ManyRuns]:
    with ManyRuns() as serving:
        yield serving


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "configured_at_once", lambda: AT_ONCE)


@pytest.fixture
def access(snaplogic: Access, server: ManyRuns) -> Access:
    endpoint = dataclasses.replace(snaplogic.endpoint, base_url=server.url)
    return dataclasses.replace(snaplogic, endpoint=endpoint)


def go(doing: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run in an event loop of its own, as in one process."""
    return in_own_loop(doing())


def target(access: Access, run_id: str) -> Target:
    began = datetime.now(UTC) - timedelta(minutes=5)
    owner = Owner(TaskKey("d", "r", run_id), 1)
    return Target(ExternalRun("snaplogic", access.conn_id, run_id, None, began, {"ruuid": run_id}, owner), access, {})


def stop_all(access: Access, names: list[str], timeout: float = 60.0, **more: Any) -> list[Report]:
    channel: Any = Nowhere()

    async def doing() -> list[Report]:
        return await asyncio.gather(
            *(stop_target(channel, target(access, name), NOTE, timeout, **more) for name in names)
        )

    return go(doing)


def outcomes(reports: list[Report]) -> set[str | None]:
    return {report.result.outcome.value if report.result else report.error for report in reports}


def test_time_outs_of_a_stop_begin_when_it_is_its_turn(
    access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_many, "STOP_PATIENCE", Patience(total=0.5, answer=0.5))
    server.latency = 0.02
    began = time.monotonic()
    reports = stop_all(access, [f"run-{number}" for number in range(300)], timeout=0.5)
    took = time.monotonic() - began
    assert took > 3, "it took many times as long as one stop may"
    assert outcomes(reports) == {"stopped"}
    assert len(server.stopped) == 300
    assert max(report.result.seconds for report in reports if report.result) < took / 2, "what it waited is not counted"


def test_every_run_is_told_to_stop_before_a_confirmation_is_waited_for(access: Access, server: ManyRuns) -> None:
    names = [f"run-{number}" for number in range(60)]
    server.latency = 0.01
    assert outcomes(stop_all(access, names)) == {"stopped"}
    confirmed = next(number for number, seen in enumerate(server.seen) if is_confirmation(server, number))
    stops = [seen.run_id for seen in server.seen[:confirmed] if seen.what == "stop"]
    assert len(stops) >= len(names) - AT_ONCE, "those that had a turn with their look are told right after"


def is_confirmation(server: ManyRuns, number: int) -> bool:
    seen = server.seen[number]
    return seen.what == "look" and any(it.what == "stop" and it.run_id == seen.run_id for it in server.seen[:number])


def test_run_whose_look_has_to_be_repeated_does_not_wait_for_the_confirmations_of_others(
    access: Access, server: ManyRuns
) -> None:
    names = [f"run-{number}" for number in range(100)]
    cut: list[str] = []

    def cut_once() -> None:
        if not cut and len(server.stopped) >= 80:
            cut.extend(name for name in names if name not in server.stopped)
            for connection in list(server.connections):
                connection.abort()

    server.on_request = cut_once
    server.latency = 0.02
    assert outcomes(stop_all(access, names)) == {"stopped"}
    last_look = max(n for n, seen in enumerate(server.seen) if seen.what == "look" and not is_confirmation(server, n))
    confirmed = sum(is_confirmation(server, number) for number in range(last_look))
    assert cut
    assert confirmed < 40, "those whose look came through are confirmed after it"


def test_run_is_told_to_stop_before_others_are_looked_at(access: Access, server: ManyRuns) -> None:
    server.latency = 0.01
    stop_all(access, [f"run-{number}" for number in range(60)])
    first_stop = next(number for number, seen in enumerate(server.seen) if seen.what == "stop")
    assert first_stop <= 2 * AT_ONCE


def test_no_more_than_the_setting_says_are_under_way_at_once(access: Access, server: ManyRuns) -> None:
    server.latency = 0.05
    stop_all(access, [f"run-{number}" for number in range(20)])
    for number, seen in enumerate(server.seen[AT_ONCE:]):
        assert seen.at - server.seen[number].at > 0.04


@pytest.mark.parametrize("hang", [10, 60])
def test_runs_for_which_the_vendor_hangs_hold_up_and_hide_no_others(
    access: Access, server: ManyRuns, hang: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_many, "STOP_PATIENCE", Patience(total=0.5, answer=8.0))
    monkeypatch.setattr(turns, "SLOW_AFTER", 0.05)
    monkeypatch.setattr(turns, "MOST_SLOW", hang)
    names = [*(f"hang-{number}" for number in range(hang)), *(f"run-{number}" for number in range(100))]
    began = time.monotonic()
    reports = stop_all(access, names, timeout=0.5)
    last = max(seen.at for seen in server.seen if not seen.run_id.startswith("hang"))
    assert last - began < 8, "before the first that hangs was given up"
    assert outcomes(reports[hang:]) == {"stopped"}
    assert all(report.error and "may be alive" in report.error for report in reports[:hang])
    assert {seen.run_id for seen in server.seen if seen.what == "stop"} == set(names), "all are told to stop"


def test_slow_requests_are_not_without_number(
    access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_many, "STOP_PATIENCE", Patience(total=0.1, answer=0.5))
    monkeypatch.setattr(turns, "SLOW_AFTER", 0.05)
    monkeypatch.setattr(turns, "MOST_SLOW", 2)
    began = time.monotonic()
    stop_all(access, [f"hang-{number}" for number in range(60)], timeout=0.1)
    soon = [seen for seen in server.seen if seen.at - began < 0.45]
    assert AT_ONCE < len(soon) <= AT_ONCE + 2 * AT_ONCE


def test_stop_waits_for_no_poll(access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SLOW_AFTER", 60.0)

    def poll() -> Any:
        yield HttpRequest("GET", "/hang-poll")

    channel: Any = Nowhere()

    async def doing() -> Report:
        polls = [asyncio.create_task(access.adrive(poll(), Patience(total=1.0, answer=20.0))) for _ in range(50)]
        while len(server.seen) < AT_ONCE:
            await asyncio.sleep(0.01)
        report = await stop_target(channel, target(access, "run-1"), NOTE, 5.0)
        for one in polls:
            one.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        return report

    began = time.monotonic()
    report = go(doing)
    assert outcomes([report]) == {"stopped"}
    assert time.monotonic() - began < 5


def test_flow_that_is_cancelled_in_line_loses_no_turn(access: Access, server: ManyRuns) -> None:
    server.latency = 0.05
    channel: Any = Nowhere()

    async def doing() -> list[Any]:
        stops = [asyncio.create_task(stop_target(channel, target(access, f"gone-{n}"), NOTE, 5.0)) for n in range(40)]
        await asyncio.sleep(0.12)
        for one in stops:
            one.cancel()
        await asyncio.gather(*stops, return_exceptions=True)
        begun = time.monotonic()
        came = await asyncio.gather(*(stop_target(channel, target(access, f"run-{n}"), NOTE, 30.0) for n in range(8)))
        assert time.monotonic() - begun < 10, "all turns are there again"
        return came

    assert outcomes(go(doing)) == {"stopped"}


def test_stop_of_a_bounded_process_is_sent_though_the_time_is_up(access: Access, server: ManyRuns) -> None:
    """In the Dag processor first every stop is sent; what is left of the time is for the confirmations."""
    server.latency = 0.02
    names = [f"deaf-{number}" for number in range(40)]
    began = time.monotonic()
    reports = stop_all(access, names, not_after=time.time() + 0.1)
    assert {seen.run_id for seen in server.seen if seen.what == "stop"} == set(names)
    assert outcomes(reports) == {StopOutcome.REQUESTED.value}
    assert time.monotonic() - began < 10, "that of a stop whose time is not bounded is 60 s"


def test_garbage_is_collected_later_while_many_are_stopped(
    access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "MANY", 10)
    gc.enable()
    collected = {}
    for count in (5, 30):
        server.on_request = lambda count=count: collected.setdefault(count, gc.isenabled())
        stop_all(access, [f"run-{number}-of-{count}" for number in range(count)])
    assert collected == {5: True, 30: False}
    assert gc.isenabled()
