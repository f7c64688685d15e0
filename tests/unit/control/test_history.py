"""Events as they are merged, bounded and shown, whoever has stored them."""

from typing import Any

import pytest

from airflow_runctl.control.history import MOST, last_seen, merged, read, wiped


def event(name: str, second: int, **more: Any) -> dict[str, Any]:
    return {"event": name, "at": f"2026-01-01T00:00:{second:02}.000+00:00", "run_id": "r-1", **more}


STOP = {
    "reason": "deadline",
    "by": "deadline callback",
    "text": "late",
    "asked_at": "2026-01-01T00:00:30.000+00:00",
    "outcome": "stopped",
    "seconds": 2.0,
}
AUDIT = {"run_id": "r-1", "state": "stopped", "vendor_state": "Stopped", "stop": STOP}


def test_events_of_two_writers_are_in_order_and_each_there_once() -> None:
    one = [event("started", 1), event("state", 3, vendor_state="Started")]
    other = [event("stop", 2), event("started", 1)]
    assert [(each["event"], each["at"][17:19]) for each in merged(one, other)] == [
        ("started", "01"),
        ("stop", "02"),
        ("state", "03"),
    ]


def test_a_state_is_a_change_though_a_second_watcher_sees_it_for_the_first_time() -> None:
    again = [event("state", n, vendor_state="Started") for n in range(3)]
    assert merged(again, [event("state", 5, vendor_state="Queued"), event("state", 6, vendor_state="Started")]) == [
        again[0],
        event("state", 5, vendor_state="Queued"),
        event("state", 6, vendor_state="Started"),
    ]


def test_the_first_event_and_the_last_ones_are_kept() -> None:
    many = [event("stop", n, seconds=n) for n in range(MOST + 9)]
    kept = merged(many)
    assert len(kept) == MOST
    assert (kept[0], kept[1], kept[-1]) == (many[0], many[10], many[-1])


@pytest.mark.parametrize("stored", [None, "text", 7, {"event": "started"}, [None, 3, "x", []]])
def test_whatever_else_was_stored_is_no_history(stored: Any) -> None:
    assert merged(stored) == read(stored) == []


def test_what_is_shown_is_printable_and_has_no_field_that_is_not_known() -> None:
    [shown] = read([event("\x1b[2Jstarted", 1, token="2gAAA", why="x" * 5000, seconds=1.5)])
    assert "token" not in shown
    assert shown["event"] == "?[2Jstarted"
    assert len(shown["why"]) < 400
    assert shown["seconds"] == 1.5


def test_a_stop_that_stands_in_the_audit_record_alone_is_an_event() -> None:
    events = read([event("started", 1)], AUDIT)
    assert [each["event"] for each in events] == ["started", "stop", "ended"]
    stop = events[1]
    assert (stop["why"], stop["by"], stop["outcome"], stop["at"]) == (
        "deadline: late",
        "deadline callback",
        "stopped",
        "2026-01-01T00:00:32.000+00:00",
    )


def test_a_stop_that_was_kept_too_is_one_event() -> None:
    kept = [event("stop", 31, by="deadline callback", outcome="stopped"), event("ended", 33)]
    assert read(kept, AUDIT) == kept


def test_an_intent_is_shown_while_nobody_knows_what_came_of_it() -> None:
    intent = {**STOP, "outcome": None, "seconds": None}
    [stop] = read([], {**AUDIT, "state": "running", "stop": intent})
    assert (stop["outcome"], stop["at"]) == ("asked", STOP["asked_at"])


@pytest.mark.parametrize(
    "odd", [None, 3, {}, {"run_id": 7, "stop": 3}, {**AUDIT, "stop": {**STOP, "asked_at": "x", "seconds": "y"}}]
)
def test_an_audit_record_that_is_none_hides_no_event(odd: Any) -> None:
    assert read([event("started", 1)], odd) == [event("started", 1)]


def test_what_was_seen_last() -> None:
    events = [event("state", 2, vendor_state="Started"), event("stop", 3), event("state", 4, run_id="r-2")]
    word, at = last_seen(events, "r-1")
    assert (word, at.second if at else None) == ("Started", 2)
    assert last_seen(events, "r-3") == (None, None)


def test_what_a_later_attempt_has_wiped() -> None:
    assert wiped([event("started", 1, try_number=2)], 3) == [1]
    assert wiped([], 1) == wiped([], None) == []
