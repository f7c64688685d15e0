"""Which run a trigger call has made: what the call says, what the list shows, and what the vendor's clock tells."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from airflow_runctl.exceptions import StartUncertain
from airflow_runctl.hooks.base import Access
from airflow_runctl.sandbox.client import Sandbox, eventually
from airflow_runctl.vendors.base import Flow, HttpResponse, Owned, Started
from airflow_runctl.vendors.snaplogic.clock import VendorClock
from airflow_runctl.vendors.snaplogic.lineup import Lineup
from tests.unit.clients import Client
from tests.unit.connections import Connections
from tests.unit.later import Later
from tests.unit.vendors.snaplogic.runs import plan, somebody_starts, started, vendor, whole

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.fixture(autouse=True)
def unhurried(brisk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look less often than elsewhere: these tests wait for seconds, and a look is nine requests."""
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOOK_EVERY", 0.2)


@pytest.fixture
def patient(connections: Connections) -> Access:
    """A connection that lets a run settle for longer than the lists of these tests lag."""
    return connections.access("snaplogic_default", {"settling_time": "1.5"})


def ours_and_a_strangers(box: Sandbox) -> tuple[str, str]:
    first, second = box.runs(vendor="snaplogic")
    return first["run_id"], second["run_id"]


def seconds_passed(what: list[dict[str, Any]], seconds: float) -> bool:
    return bool(what) and (datetime.now(UTC) - datetime.fromisoformat(what[0]["at"])).total_seconds() > seconds


# -- the call's own answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["early", "header"])
@pytest.mark.parametrize("after", [0.7, 1.3])
def test_answer_outranks_a_strangers_run_that_is_listed_first(
    client: Client, patient: Access, box: Sandbox, answers: str, after: float
) -> None:
    """Ours is listed late; somebody else's of the same pipeline, made a moment later, at once."""
    box.behave("snaplogic", "hang", answers=answers, list_delay_seconds=1.0)
    box.fault("snaplogic", "start", "latency", seconds=after, after_effect=True, count=1)

    def stranger() -> None:
        box.behave("snaplogic", "hang", list_delay_seconds=0.0)
        somebody_starts(patient)

    with Later(box.runs, stranger):
        run = started(client, patient)
    ours, strangers = ours_and_a_strangers(box)
    assert run.run_id == ours
    assert [row["stop_requests"] for row in box.runs()] == [0, 0], strangers


def test_answer_that_comes_after_its_run_could_not_be_told_apart_still_counts(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    """Both are listed from the start; the call says which is its own before the wait for that is over."""
    box.behave("snaplogic", "hang", answers="early")
    box.fault("snaplogic", "start", "latency", seconds=0.9, after_effect=True, count=1)
    with Later(box.runs, lambda: somebody_starts(snaplogic)):
        run = started(client, snaplogic)
    assert run.run_id == ours_and_a_strangers(box)[0]


def test_pipeline_said_to_return_its_ruuid_is_waited_for_however_long(
    client: Client, snaplogic: Access, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "AMBIGUOUS_WAIT", 0.0)
    box.behave("snaplogic", "hang", answers="early")
    box.fault("snaplogic", "start", "latency", seconds=1.2, after_effect=True, count=1)
    with Later(box.runs, lambda: somebody_starts(snaplogic)):
        run = started(client, snaplogic, returns_ruuid=True)
    assert run.run_id == ours_and_a_strangers(box)[0]


# -- what the list shows ---------------------------------------------------------------------------------


def test_strangers_run_that_is_alone_for_less_than_the_settling_time_is_not_taken(
    client: Client, patient: Access, box: Sandbox
) -> None:
    box.behave("snaplogic", "hang", list_delay_seconds=1.0)

    def stranger() -> None:
        box.behave("snaplogic", "hang", list_delay_seconds=0.0)
        somebody_starts(patient)

    with Later(box.runs, stranger), pytest.raises(StartUncertain) as seen:
        started(client, patient)
    assert seen.value.candidates == tuple(sorted(ours_and_a_strangers(box)))
    assert "a pool of one slot that does not count deferred tasks" in str(seen.value)
    assert [row["stop_requests"] for row in box.runs()] == [0, 0]


def test_run_that_was_made_before_the_call_is_not_taken_though_it_is_listed_after_it(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    """Made longer ago than a ``Date`` leaves open."""
    box.behave("snaplogic", "hang", list_delay_seconds=2.0)
    somebody_starts(snaplogic)
    eventually(lambda: seconds_passed(box.requests(operation="start"), 1.5))
    box.behave("snaplogic", "hang", list_delay_seconds=1.5)
    run = started(client, snaplogic)
    strangers, ours = ours_and_a_strangers(box)
    assert run.run_id == ours
    assert run.run_id != strangers


@pytest.mark.parametrize("status", [502, 503])
def test_strangers_run_that_comes_up_after_a_call_that_failed_is_not_taken(
    client: Client, connections: Connections, box: Sandbox, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second later; looks at well-chosen moments tell the clocks apart by less than that."""
    from airflow_runctl.vendors.snaplogic import trigger

    monkeypatch.setattr(trigger, "LOOK_EVERY", 1.0)
    monkeypatch.setattr(trigger, "LOST_CALL_LOOKS", 6)
    access = connections.access("snaplogic_default", {"settling_time": "4"})
    box.fault("snaplogic", "start", "status", status=status, count=1)

    with (
        Later(lambda: seconds_passed(box.requests(operation="start"), 0.5), lambda: somebody_starts(access)),
        pytest.raises(StartUncertain, match="no new run is listed"),
    ):
        started(client, access)
    assert [row["stop_requests"] for row in box.runs()] == [0]


def test_run_that_another_task_owns_is_not_taken(client: Client, snaplogic: Access, box: Sandbox) -> None:
    asked: list[frozenset[str]] = []

    def owned(run_ids: frozenset[str]) -> frozenset[str]:
        asked.append(run_ids)
        return frozenset({row["run_id"] for row in box.runs()[1:]})

    with Later(box.runs, lambda: somebody_starts(snaplogic)):
        run = client.drive(snaplogic, whole(plan(snaplogic)), owned=owned)
    ours, strangers = ours_and_a_strangers(box)
    assert run.run_id == ours
    assert any(strangers in run_ids for run_ids in asked)


def test_only_run_is_asked_about_too_before_it_is_taken(client: Client, snaplogic: Access, box: Sandbox) -> None:
    """It is another task's; ours never came up."""
    box.fault("snaplogic", "start", "cut", seconds=2.0, count=1)

    def owned(run_ids: frozenset[str]) -> frozenset[str]:
        return run_ids

    with (
        Later(lambda: box.requests(operation="start"), lambda: somebody_starts(snaplogic)),
        pytest.raises(StartUncertain),
    ):
        client.drive(snaplogic, whole(plan(snaplogic)), owned=owned)


def test_lost_start_is_not_taken_for_a_run_that_was_made_before_it(
    client: Client, snaplogic: Access, box: Sandbox
) -> None:
    box.behave("snaplogic", "hang", list_delay_seconds=2.5)
    somebody_starts(snaplogic)
    eventually(lambda: seconds_passed(box.requests(operation="start"), 1.5))
    search = client.drive(snaplogic, plan(snaplogic).prepare())

    def until_listed() -> Flow[list[Started]]:
        while True:
            listed = yield from vendor(snaplogic).list_runs(state="Started", invoker="triggered", pipe_name="hang")
            if listed:
                return (yield from vendor(snaplogic).find(search))

    assert client.drive(snaplogic, until_listed()) == []


# -- the vendor's clock ----------------------------------------------------------------------------------

NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def answer(vendor_time: datetime, sent: float, received: float, **headers: str) -> HttpResponse:
    date = format_datetime(vendor_time, usegmt=True)
    return HttpResponse(200, {"date": date, **headers}, b"", NOON.timestamp() + received, NOON.timestamp() + sent)


def clock_of(*answers: HttpResponse) -> VendorClock:
    clock = VendorClock()
    for each in answers:
        clock.hear(each)
    return clock


def test_answers_narrow_the_difference_of_the_clocks() -> None:
    """The vendor's is 100 s ahead; ``Date`` leaves a second open, and two answers less."""
    ahead = timedelta(seconds=100)
    clock = clock_of(answer(NOON + ahead, 0.1, 0.2), answer(NOON + ahead, 0.9, 0.95))
    assert clock.bounds() == pytest.approx((99.8, 100.1))


def test_looks_come_at_moments_that_halve_what_is_not_known_of_the_clock() -> None:
    """A vendor whose clock is 0.3 s ahead; each look asks when a second begins by the middle of what it may be."""
    clock, at, ahead = VendorClock(), NOON.timestamp() + 0.5, 0.3
    widths = []
    for _ in range(6):
        clock.hear(HttpResponse(200, {"date": format_datetime(_floor(at + ahead), usegmt=True)}, b"", at, at))
        low, high = clock.bounds()
        assert low <= ahead <= high
        widths.append(high - low)
        pause = clock.pause(1.0)
        assert 0.5 <= pause <= 1.5
        at += pause
    assert widths[-1] == pytest.approx(1 / 32, abs=0.001)


def _floor(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


def test_answers_that_contradict_each_other_widen_it() -> None:
    clock = clock_of(answer(NOON, 0.1, 0.2), answer(NOON + timedelta(seconds=50), 1.0, 1.1))
    low, high = clock.bounds()
    assert low <= -0.2
    assert high >= 50 - 1 + 1


def test_date_that_is_made_once_a_second_may_be_late_and_is_never_early() -> None:
    """Then what is early has to be believed, and nothing of ours is ruled out."""
    clock = clock_of(answer(NOON, 0.0, 0.05), answer(NOON, 1.9, 1.95), answer(NOON + timedelta(seconds=2), 2.0, 2.05))
    low, high = clock.bounds()
    assert low == pytest.approx(-0.05)
    assert high >= 1.0 - 0.0


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 Nov 2026 12:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "²"]
)
def test_answer_without_a_date_says_nothing(date: str) -> None:
    clock = clock_of(HttpResponse(200, {"date": date}, b"", 5.0, 4.0))
    assert clock.bounds() == (0.0, 0.0)
    assert clock.heard_at == 5.0


@pytest.mark.parametrize(
    ("made", "inside"),
    [
        (NOON + timedelta(seconds=99.5), False),
        (NOON + timedelta(seconds=100.5), True),
        (NOON + timedelta(seconds=104.9), True),
        (NOON + timedelta(seconds=107), False),
        (NOON.replace(microsecond=0) + timedelta(seconds=100), True),
    ],
)
def test_made_within_is_told_by_the_vendors_clock(made: datetime, inside: bool) -> None:
    clock = clock_of(answer(NOON + timedelta(seconds=100), 0.0, 0.0))
    begin = NOON.timestamp()
    assert clock.may_be_within(made, begin, begin + 5) is inside


def test_time_without_a_fraction_may_be_the_whole_second() -> None:
    clock = VendorClock()
    begin = NOON.timestamp() + 0.4
    assert clock.may_be_within(NOON, begin, begin + 1)
    assert not clock.may_be_within(NOON.replace(microsecond=1), begin, begin + 1)


# -- the lineup ------------------------------------------------------------------------------------------


def entry(at: float, **more: Any) -> dict[str, Any]:
    return {"create_time": (NOON + timedelta(seconds=at, microseconds=1)).isoformat(), **more}


def look(lineup: Lineup, at: float, entries: dict[str, Any], owned: Iterable[str] = ()) -> None:
    lineup.clock.heard_at = NOON.timestamp() + at
    lineup.see(entries)
    lineup.leave(lineup.possible() - frozenset(owned))


def lineup_of(known: Iterable[str] = ()) -> Lineup:
    return Lineup({"known": [*known]}, 4.0, NOON.timestamp())


def test_the_only_one_is_taken_once_it_has_settled() -> None:
    lineup = lineup_of()
    look(lineup, 1, {"a": entry(0.2)})
    assert lineup.settled() is None
    look(lineup, 4.9, {"a": entry(0.2)})
    assert lineup.settled() is None
    look(lineup, 5, {"a": entry(0.2)})
    assert lineup.settled() == "a"


def test_a_second_one_that_comes_up_or_has_gone_again_keeps_it_open() -> None:
    lineup = lineup_of()
    look(lineup, 1, {"a": entry(0.2)})
    look(lineup, 3, {"a": entry(0.2), "b": entry(0.1)})
    look(lineup, 9, {"a": entry(0.2)})
    assert lineup.settled() is None
    assert lineup.is_ambiguous(1.0)
    assert not lineup.is_ambiguous(10.0)


def test_one_that_turns_out_to_be_owned_leaves_the_other_to_settle_anew() -> None:
    lineup = lineup_of()
    look(lineup, 1, {"a": entry(0.2), "b": entry(0.1)})
    look(lineup, 6, {}, owned={"b"})
    assert lineup.settled() is None
    look(lineup, 10, {}, owned={"b"})
    assert lineup.settled() == "a"


def test_one_of_which_nobody_says_when_it_was_made_is_never_taken() -> None:
    lineup = lineup_of()
    for at in (1, 10):
        look(lineup, at, {"a": {"create_time": None}})
    assert lineup.settled() is None
    assert lineup.is_ambiguous(1.0)


def test_step_of_ownership_is_answered_with_nobody_where_nobody_is_asked(client: Client, snaplogic: Access) -> None:
    def ask() -> Flow[Any]:
        return (yield Owned(frozenset({"a"})))

    assert client.drive(snaplogic, ask()) == frozenset()


def test_vendor_without_a_date_is_taken_to_have_our_clock() -> None:
    assert VendorClock().here(NOON) == NOON
