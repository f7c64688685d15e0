"""A vendor's calls a minute: never exceeded, polls slow down, and a stop does not wait for them."""

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_runctl.control.stop import StopNote, stop
from airflow_runctl.control.watch import Watched, follow
from airflow_runctl.exceptions import ConnectionSetupError, NotItsTurn
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, StopOutcome, StopReason, TaskKey
from airflow_runctl.transport import budget
from airflow_runctl.transport.aio import close_session, in_own_loop
from airflow_runctl.transport.budget import Allowance, Budget
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Hurry, Rank
from tests.servers.many_runs import ManyRuns
from tests.unit.clients import Client
from tests.unit.connections import Connections

pytestmark = pytest.mark.usefixtures("brisk")

NOTE = StopNote(StopReason.DEADLINE, "test")
CALLS = 10


@pytest.fixture
def server() -> Iterator[ManyRuns]:
    with ManyRuns() as serving:
        yield serving


@pytest.fixture
def access(snaplogic: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch) -> Access:
    """A connection of which the vendor takes ten calls a minute."""
    monkeypatch.setattr(budget, "_budgets", {})
    endpoint = dataclasses.replace(
        snaplogic.endpoint, base_url=server.url, allowance=Allowance(snaplogic.conn_id, CALLS)
    )
    return dataclasses.replace(snaplogic, endpoint=endpoint)


def run_of(access: Access, run_id: str = "run-1") -> ExternalRun:
    began = datetime.now(UTC) - timedelta(minutes=5)
    owner = Owner(TaskKey("d", "r", run_id), 1)
    return ExternalRun("snaplogic", access.conn_id, run_id, None, began, {"ruuid": run_id}, owner)


def taken(made: Budget, rank: Rank) -> int:
    """Return how many calls of a rank there is room for."""
    count = 0
    while made.take(rank) == 0.0:
        count += 1
    return count


# -- how many ------------------------------------------------------------------------------------------------


def test_polls_and_confirmations_leave_a_part_to_starts_and_stops() -> None:
    made = Budget(Allowance("c", 100))
    assert [taken(made, rank) for rank in (Rank.POLL, Rank.LOOK_BEFORE, Rank.CONFIRM, Rank.ACT)] == [80, 0, 10, 10]


def test_polls_are_divided_among_processes_and_stops_are_not() -> None:
    made = Budget(Allowance("c", 100, processes=5))
    assert [taken(made, rank) for rank in (Rank.POLL, Rank.CONFIRM, Rank.ACT)] == [16, 2, 82]


def test_who_finds_no_room_is_told_when_there_may_be_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "WINDOW", 0.3)
    made = Budget(Allowance("c", 10))
    assert taken(made, Rank.POLL) == 8
    seconds = made.take(Rank.POLL)
    assert 0 < seconds <= 0.31
    time.sleep(seconds + 0.01)
    assert made.take(Rank.POLL) == 0.0


@pytest.mark.parametrize(
    ("conn_id", "extra", "allowance"),
    [
        ("axiom_default", {"rate_limit": None}, Allowance("axiom_default", 100)),
        ("vectorshift_default", {"rate_limit": ""}, Allowance("vectorshift_default", 250)),
        ("snaplogic_default", {}, None),
        ("axiom_default", {"rate_limit": "0"}, None),
        ("axiom_default", {"rate_limit": 30, "rate_limit_processes": "4"}, Allowance("axiom_default", 30, 4)),
        ("snaplogic_default", {"rate_limit": "600"}, Allowance("snaplogic_default", 600)),
    ],
)
def test_connection_says_how_many_calls_the_vendor_takes(
    connections: Connections, conn_id: str, extra: dict[str, Any], allowance: Allowance | None
) -> None:
    assert connections.access(conn_id, extra=extra).endpoint.allowance == allowance


@pytest.mark.parametrize(
    "extra",
    [
        {"rate_limit": "-1"},
        {"rate_limit": "many"},
        {"rate_limit": 1.5},
        {"rate_limit": 1_000_000_000},
        {"rate_limit_processes": 0},
    ],
)
def test_rate_limit_that_makes_no_sense_is_refused(connections: Connections, extra: dict[str, Any]) -> None:
    with pytest.raises(ConnectionSetupError, match=r"must be a whole number from [01] to 1,000,000"):
        connections.access("axiom_default", extra=extra)


# -- polls slow down, stops do not ---------------------------------------------------------------------------


def poll(access: Access) -> Any:
    """Look at a run again and again, as a watcher does."""
    while True:
        yield from access.vendor.status(run_of(access, "polled"))


def budget_for(access: Access) -> Budget:
    made = budget.budget_of(access.endpoint.allowance)
    assert made is not None
    return made


def use_up_what_polls_have(access: Access) -> None:
    assert taken(budget_for(access), Rank.POLL) == 8


def test_poll_that_finds_no_room_in_its_time_is_not_sent(client: Client, access: Access, server: ManyRuns) -> None:
    use_up_what_polls_have(access)

    def flow() -> Any:
        yield Hurry(Rank.POLL, until=time.time() + 0.1)
        yield from poll(access)

    with pytest.raises(NotItsTurn):
        client.drive(access, flow())
    assert server.seen == []


def test_stop_is_on_the_wire_at_once_though_polls_have_used_up_the_budget(
    client: Client, access: Access, server: ManyRuns
) -> None:
    use_up_what_polls_have(access)
    began = time.monotonic()
    result = client.drive(access, stop(access.vendor, run_of(access), NOTE, timeout=0))
    (asked,) = [seen for seen in server.seen if seen.what == "stop"]
    assert asked.at - began < 1
    assert result.outcome is StopOutcome.STOPPED or result.outcome is StopOutcome.REQUESTED


def test_as_many_stops_as_there_is_room_for_are_on_the_wire_at_once(access: Access, server: ManyRuns) -> None:
    """None of the looks before them takes a call that one of them needs."""
    use_up_what_polls_have(access)

    async def both() -> None:
        flows = [stop(access.vendor, run_of(access, f"run-{number}"), NOTE, timeout=0) for number in range(2)]
        asking = [asyncio.create_task(access.adrive(flow)) for flow in flows]
        while len([seen for seen in server.seen if seen.what == "stop"]) < 2:
            await asyncio.sleep(0.01)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    in_own_loop(asyncio.wait_for(both(), 20))
    assert [seen.what for seen in server.seen[:2]] == ["stop", "stop"]


@pytest.mark.parametrize("run_id", ["run-1", "hang-1"], ids=["no room", "no room, and the vendor hangs"])
def test_limit_that_passes_while_a_poll_waits_is_kept(
    client: Client, access: Access, server: ManyRuns, run_id: str
) -> None:
    use_up_what_polls_have(access)
    at = time.time() + 0.5
    late_from = time.monotonic() + 0.5
    flow = follow(
        access.vendor,
        run_of(access, run_id),
        by="test",
        poll_interval=0.05,
        limits={"max_runtime": at},
        stop_timeout=0.0,
        ride_out=0.0,
    )
    watched: Watched = client.drive(access, flow, Patience(total=0.1, answer=0.3))
    assert watched.limit is StopReason.MAX_RUNTIME
    (asked, *_) = [seen for seen in server.seen if seen.what == "stop"]
    assert 0 <= asked.at - late_from < 1, "what waits for room is no bad poll either, and is not ridden out"


def test_limit_that_passes_while_a_poll_hangs_is_kept(client: Client, access: Access, server: ManyRuns) -> None:
    late_from = time.monotonic() + 0.5
    flow = follow(
        access.vendor,
        run_of(access, "hang-1"),
        by="test",
        poll_interval=0.05,
        limits={"max_runtime": time.time() + 0.5},
        stop_timeout=0.0,
    )
    client.drive(access, stopped_looking(flow), Patience(total=0.1, answer=10.0))
    assert server.seen[1].at - late_from < 5, "the look before the stop"


def stopped_looking(flow: Any) -> Any:
    """Drive a flow up to the second request, which is that of the stop."""
    step, requests = next(flow), 0
    while True:
        requests += type(step).__name__ == "HttpRequest"
        if requests == 3:
            return
        try:
            answer = yield step
        except Exception as error:
            step = flow.throw(error)
        else:
            step = flow.send(answer)


def test_calls_of_a_window_are_never_more_than_the_vendor_takes(
    access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "WINDOW", 1.0)
    at: list[float] = []
    take = Budget.take

    def taking(made: Budget, rank: Rank) -> float:
        seconds = take(made, rank)
        if not seconds:
            at.append(time.monotonic())
        return seconds

    # When each call is let go, not when a busy machine's server comes to it.
    monkeypatch.setattr(Budget, "take", taking)

    async def doing() -> None:
        polls = [asyncio.create_task(access.adrive(poll(access))) for _ in range(20)]
        await asyncio.sleep(0.2)
        names = [f"run-{number}" for number in range(8)]
        await asyncio.gather(
            *(access.adrive(stop(access.vendor, run_of(access, name), NOTE, timeout=30.0)) for name in names)
        )
        await asyncio.sleep(1.5)
        for one in polls:
            one.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        await close_session()

    asyncio.run(doing())
    assert len(server.stopped) == 8
    assert len(server.seen) <= len(at)
    assert max(sum(begin <= moment < begin + 0.95 for moment in at) for begin in at) <= CALLS
    assert at[-1] - at[0] > 2.5
    polled = [seen for seen in server.seen if seen.run_id == "polled"]
    assert len(polled) > 8, "polls go on, slower"


def test_waiting_stops_go_before_waiting_polls(
    access: Access, server: ManyRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "WINDOW", 1.0)
    assert taken(budget_for(access), Rank.ACT) == CALLS

    async def doing() -> None:
        polls = [asyncio.create_task(access.adrive(poll(access))) for _ in range(20)]
        await asyncio.sleep(0.1)
        await asyncio.gather(
            *(access.adrive(stop(access.vendor, run_of(access, f"run-{n}"), NOTE, timeout=0.0)) for n in range(4))
        )
        for one in polls:
            one.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        await close_session()

    asyncio.run(doing())
    first = [seen.run_id for seen in server.seen[:8]]
    assert "polled" not in first, "eight calls: four looks and four requests to stop"
