"""What happened to the runs of a task instance, kept for people as a list of events: nothing decides by it.

The events are those of the audit log (``audit.py``). They lie apart from all that decides about a run or a retry, so
that two who write at once can lose an event and nothing else. Who writes them: ``remember.py``, and ``ledger.py`` on
the worker. An event that only the audit record holds, such as the stop of a run that was stopped with a hundred
others, is read from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow_runctl.runs import printable, state_in

Event = Mapping[str, Any]

MOST: Final = 40
"""How many events are kept; then those after the first fall out, the older ones before the newer ones."""

LONGEST_TEXT: Final = 300

STATE: Final = "state"
STOP: Final = "stop"
ENDED: Final = "ended"

FIELDS: Final = (
    "event",
    "at",
    "by",
    "why",
    "outcome",
    "seconds",
    "state",
    "vendor_state",
    "run_id",
    "try_number",
    "error",
)
"""What an event may have, of the fields of the audit log."""

EVENTS: Final = "events"
"""Under which name a trigger hands on what nobody has kept yet."""

_heard: ContextVar[list[Event] | None] = ContextVar("runctl_history", default=None)


@contextmanager
def heard(events: list[Event] | None = None) -> Iterator[list[Event]]:
    """Collect the events that are told meanwhile in this context.

    :param events: where they are added; a new list by default.
    """
    events = [] if events is None else events
    before = _heard.set(events)
    try:
        yield events
    finally:
        _heard.reset(before)


def is_heard() -> bool:
    """Return True if somebody collects what is told here."""
    return _heard.get() is not None


def hear(fields: Mapping[str, Any]) -> None:
    """Add an event for whoever collects."""
    events = _heard.get()
    if events is not None:
        events.append({name: fields[name] for name in FIELDS if fields.get(name) is not None})


def merged(*parts: Any) -> list[Event]:
    """Return the events of all parts, the oldest first, each once, and no more than are kept.

    :param parts: lists of events, or whatever else somebody has stored under their key.
    """
    known = [event for part in parts if isinstance(part, list) for event in part if _is_event(event)]
    events: list[Event] = []
    words: dict[object, object] = {}
    for event in sorted(known, key=lambda event: str(event.get("at"))):
        run, word = str(event.get("run_id")), event.get("vendor_state")
        if event in events or (event.get("event") == STATE and words.get(run) == word):
            continue
        words[run] = word or words.get(run)
        events.append(event)
    return events if len(events) <= MOST else [events[0], *events[1 - MOST :]]


def _is_event(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("event"), str)


def read(stored: Any, audit: Any = None) -> list[dict[str, Any]]:
    """Return stored events as they can be shown, the oldest first: whoever writes XComs could have put them there.

    :param stored: what lies under their key.
    :param audit: the audit record beside it, whose stop and end need not stand among them.
    """
    events = [_shown(event) for event in merged(stored)]
    return [*merged(events, [_shown(event) for event in _in_record(audit, events)])]  # type: ignore[list-item]


def last_seen(events: Iterable[Event], run_id: object) -> tuple[str | None, datetime | None]:
    """Return the vendor's word for a run's state that was recorded last, and when."""
    word, at = None, None
    for event in events:
        if event.get("run_id") == run_id and event.get("vendor_state"):
            word, at = str(event["vendor_state"]), _moment(event.get("at"))
    return word, at


def wiped(events: Iterable[Event], try_number: int | None) -> list[int]:
    """Return the earlier attempts of which no event is left: what they had recorded, a later one has wiped."""
    known = {event.get("try_number") for event in events}
    return [number for number in range(1, try_number or 1) if number not in known]


def _in_record(audit: Any, events: list[dict[str, Any]]) -> Iterator[Event]:
    """Yield the stop and the end that an audit record tells of, unless they stand among the events."""
    if not isinstance(audit, Mapping) or not audit.get("run_id"):
        return
    run_id, stop = printable(audit["run_id"], LONGEST_TEXT), audit.get("stop")
    named = {"run_id": run_id, "state": audit.get("state"), "vendor_state": audit.get("vendor_state")}
    at = None
    if isinstance(stop, Mapping) and (began := _moment(stop.get("asked_at"))) is not None:
        at = _later(began, stop.get("seconds"))
        told = [event for event in events if event.get("event") == STOP and event.get("run_id") == run_id]
        if not any((moment := _moment(event.get("at"))) and moment >= began for event in told):
            why = f"{stop.get('reason')}: {stop['text']}" if stop.get("text") else stop.get("reason")
            more = {"by": stop.get("by"), "why": why, "outcome": stop.get("outcome") or "asked"}
            yield {"event": STOP, "at": at, **more, "seconds": stop.get("seconds"), **named}
    state = state_in(audit)
    is_over = state is not None and state.is_terminal
    if at is not None and is_over and not any(_is_end(event, run_id) for event in events):
        yield {"event": ENDED, "at": at, "by": stop.get("by"), "outcome": named["state"], **named}  # type: ignore[union-attr]


def _is_end(event: Event, run_id: str) -> bool:
    return event.get("event") == ENDED and event.get("run_id") == run_id


def _later(began: datetime, seconds: Any) -> str:
    passed = seconds if isinstance(seconds, int | float) and 0 <= seconds < timedelta.max.days else 0
    return (began.astimezone(UTC) + timedelta(seconds=passed)).isoformat(timespec="milliseconds")


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _shown(event: Event) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float) else printable(value, LONGEST_TEXT)
        for name in FIELDS
        if (value := event.get(name)) is not None
    }
