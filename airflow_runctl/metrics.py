"""The metrics of this package: the table of all that is counted, and how it gets to Airflow's own statistics.

Whoever counts does nothing but leave a note, which takes less than a microsecond and needs no lock: a run, its stop and
the event loop are more important, and a stop may be sent inside a signal handler. A thread of this process hands the
notes on to Airflow, which may look up a name, open a file or hang meanwhile. Looks at runs, the one thing that comes
often, are added up by then: they are handed on every ``POLLS_EVERY`` seconds, and with whatever else is.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Final

from airflow_runctl.compat import add_to_counter, add_to_timer, metrics_are_on, metrics_carry_tags
from airflow_runctl.exceptions import (
    BadAnswer,
    LoginRefused,
    NotFound,
    NotItsTurn,
    RateLimited,
    RunctlError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.runs import TaskKey

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a metric is."""

    COUNTER = "counter"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Metric:
    """A row of the table.

    :param name: its name, which Airflow puts its own prefix before.
    :param kind: counter or timer.
    :param tags: tags of few values each. Where Airflow's metrics carry no tags the values are part of the name, in
        this order.
    :param of_task: it has the tags ``dag_id`` and ``task_id`` too, where there are tags.
    :param counts: what it counts, for people.
    """

    name: str
    kind: Kind
    tags: tuple[str, ...]
    of_task: bool
    counts: str

    @property
    def all_tags(self) -> tuple[str, ...]:
        """The names of its tags, those of the task included."""
        return (*self.tags, *TASK_TAGS) if self.of_task else self.tags


TASK_TAGS: Final = ("dag_id", "task_id")

RUNS_STARTED: Final = Metric(
    "runctl.runs_started",
    Kind.COUNTER,
    ("vendor",),
    True,
    "Runs that a start operator has started, or started again. Not one that a further try took over.",
)
RUNS_ENDED: Final = Metric(
    "runctl.runs_ended",
    Kind.COUNTER,
    ("vendor", "state"),
    True,
    "Runs that were seen to be over, once each: `succeeded`, `failed`, `stopped` (by a stop, which the vendor may call "
    "failed), `unknown` (gone at the vendor). Only runs that a start operator started.",
)
STOPS: Final = Metric(
    "runctl.stops",
    Kind.COUNTER,
    ("vendor", "reason", "outcome"),
    True,
    "Stops, by reason and outcome: `stopped`, `already_finished`, `requested` (asked, not confirmed in time), `failed` "
    "(the vendor did not take it, or did not answer). After the last two the run may be alive. `confirmed_late` takes "
    "back a `requested` of a killed task that lived long enough to see its run end.",
)
STOP_DURATION: Final = Metric(
    "runctl.stop_duration",
    Kind.TIMER,
    ("vendor", "reason"),
    False,
    "From the reason of a stop to the moment when the run was seen to be stopped. The reason came up when a limit "
    "or deadline passed, where it has a time; else when the stop began. Only stops that were confirmed.",
)
ORPHANS_FOUND: Final = Metric(
    "runctl.orphans_found",
    Kind.COUNTER,
    ("vendor",),
    True,
    "Runs that a sweep found alive though their owner is over; at each sweep again while they are.",
)
SLOW_RUNS: Final = Metric(
    "runctl.slow_runs",
    Kind.COUNTER,
    ("vendor",),
    True,
    "Runs that took longer than `warn_after`; again if the triggerer was restarted since.",
)
POLLS: Final = Metric(
    "runctl.polls",
    Kind.COUNTER,
    ("vendor",),
    False,
    "Looks at runs that are watched; one list that is asked for many of them is one look. Added up, and sent every 10 "
    "seconds.",
)
VENDOR_ERRORS: Final = Metric(
    "runctl.vendor_errors",
    Kind.COUNTER,
    ("vendor", "kind"),
    False,
    "Answers of a vendor that were none or no good, once all repetitions of the request were over.",
)

METRICS: Final = (
    RUNS_STARTED,
    RUNS_ENDED,
    STOPS,
    STOP_DURATION,
    ORPHANS_FOUND,
    SLOW_RUNS,
    POLLS,
    VENDOR_ERRORS,
)
"""All there are; docs/reference/metrics.md is written from them."""

ERROR_KINDS: Final[Mapping[type[Exception], tuple[str, str]]] = {
    LoginRefused: ("login_refused", "the credential, or its rights"),
    NotFound: ("not_found", "no such run, task or automation"),
    RateLimited: ("rate_limited", "too many calls"),
    StartRefused: ("start_refused", "the vendor started nothing"),
    StartUncertain: ("start_uncertain", "whether a run was started, or which, is not known"),
    BadAnswer: ("bad_answer", "an answer that cannot be read"),
    TransportError: ("no_answer", "no connection, a time-out, a connection that broke"),
    VendorError: ("refused", "any other no"),
}
"""Tag ``kind`` of ``runctl.vendor_errors``, and what it is. Other errors are none of a vendor's."""

SERVER_ERROR: Final = ("server_error", "HTTP 5xx")

FAILED: Final = "failed"
CONFIRMED_LATE: Final = "confirmed_late"
"""Outcomes of a stop besides those of :class:`~airflow_runctl.runs.StopOutcome`."""

NO_TASK: Final = "-"
"""``dag_id`` and ``task_id`` of a run that no task owns."""

POLLS_EVERY: Final = 10.0
LAST_SECONDS: Final = 1.0
"""How long a task waits at its end until Airflow has what was counted: then its process is gone, and that with it."""

LONGEST_NAME: Final = 240
"""Characters of name and tags together; Airflow drops what has more than 250."""


def count(metric: Metric, where: TaskKey | None = None, **tags: str) -> None:
    """Add one to a counter.

    :param where: the task that owns the run.
    :param tags: the values of the metric's tags.
    """
    _sender().put(_Note(metric, where, tags))


def took(metric: Metric, seconds: float, where: TaskKey | None = None, **tags: str) -> None:
    """Add to a timer.

    :param where: the task that owns the run.
    :param tags: the values of the metric's tags.
    """
    _sender().put(_Note(metric, where, tags, max(0.0, seconds)))


def count_poll(vendor: str) -> None:
    """Count one look at a run."""
    _sender().polls.append(vendor)


def count_error(vendor: str, error: Exception) -> None:
    """Count an error of a vendor; one that is raised on and comes by again is counted once."""
    kind = kind_of(error)
    if kind is None or getattr(error, COUNTED, False):
        return
    setattr(error, COUNTED, True)
    count(VENDOR_ERRORS, vendor=vendor, kind=kind)


COUNTED: Final = "_runctl_counted"


def kind_of(error: Exception) -> str | None:
    """Return the tag ``kind`` of an error, or ``None`` for one that is none of the vendor's."""
    if isinstance(error, NotItsTurn) or not isinstance(error, RunctlError):
        return None
    found = next((said for kind, said in ERROR_KINDS.items() if isinstance(error, kind)), None)
    if found is ERROR_KINDS[VendorError] and getattr(error, "status", 0) >= 500:
        found = SERVER_ERROR
    return found and found[0]


def begin() -> None:
    """Prepare to count, so that a signal handler need not."""
    _sender()


def hand_on(seconds: float = 0.0) -> None:
    """Hand on what was counted up to now.

    :param seconds: how long to wait at most until Airflow has it: what a process has not sent when it ends is lost.
    """
    _sender().hand_on(seconds)


@dataclass(frozen=True, slots=True)
class _Note:
    """One thing that was counted.

    :param amount: seconds of a timer, how many of a counter.
    """

    metric: Metric
    where: TaskKey | None
    tags: Mapping[str, str]
    amount: float = 1


class _NoSender:
    """Where Airflow sends no metrics, or while they cannot be sent: nothing is kept."""

    polls: Final[deque[str]] = deque(maxlen=0)

    def put(self, note: _Note) -> None: ...

    def hand_on(self, seconds: float) -> None: ...


class _Sender:
    """The thread that hands notes on to Airflow; one in a process."""

    def __init__(self) -> None:
        self.polls: deque[str] = deque(maxlen=1_000_000)
        # Of Python's queues the one that may be put into while a signal handler has interrupted another put.
        self._notes: SimpleQueue[_Note | threading.Event | None] = SimpleQueue()
        self._has_tags = metrics_carry_tags()
        self._said: set[str] = set()
        threading.Thread(target=self._send_all, name="runctl-metrics", daemon=True).start()

    def put(self, note: _Note) -> None:
        self._notes.put(note)

    def hand_on(self, seconds: float) -> None:
        done = threading.Event() if seconds else None
        self._notes.put(done)
        if done is not None:
            done.wait(seconds)

    def _send_all(self) -> None:
        while True:
            try:
                note = self._notes.get(timeout=POLLS_EVERY)
            except Empty:
                note = None
            if isinstance(note, _Note):
                self._send(note)
            self._send_polls()
            if isinstance(note, threading.Event):
                note.set()

    def _send_polls(self) -> None:
        looks = Counter(self.polls.popleft() for _ in range(len(self.polls)))
        for vendor, number in looks.items():
            self._send(_Note(POLLS, None, {"vendor": vendor}, number))

    def _send(self, note: _Note) -> None:
        """Send one; whatever goes wrong there, the run is more important. What goes wrong is said once."""
        try:
            name, tags = addressed(note.metric, note.where, note.tags, has_tags=self._has_tags)
            if note.metric.kind is Kind.TIMER:
                add_to_timer(name, note.amount, tags)
            else:
                add_to_counter(name, int(note.amount), tags)
        except Exception as error:
            if (said := f"{note.metric.name} {type(error)}") not in self._said:
                self._said.add(said)
                log.warning("Could not count %s", note.metric.name, exc_info=True)


def addressed(
    metric: Metric, where: TaskKey | None, tags: Mapping[str, str], *, has_tags: bool
) -> tuple[str, Mapping[str, str] | None]:
    """Return name and tags as Airflow is to send them.

    :param has_tags: False if what it sends them with knows none; then the few that matter are in the name.
    """
    values = {name: _plain(tags[name]) for name in metric.tags}
    if not has_tags:
        # A point would begin a new part.
        return ".".join([metric.name, *(value.replace(".", "_") for value in values.values())]), None
    if metric.of_task:
        values |= {"dag_id": _plain(where.dag_id), "task_id": _plain(where.task_id)} if where else _NOBODYS
    return metric.name, _cut(metric.name, values)


_NOBODYS: Final = dict.fromkeys(TASK_TAGS, NO_TASK)


def _plain(value: str) -> str:
    """Return a value of characters that Airflow takes in a name or tag; it drops what has others."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", value) or NO_TASK


def _cut(name: str, tags: dict[str, str]) -> dict[str, str]:
    """Cut long ids, of which Airflow would drop the whole: the longer one first."""
    over = len(name) + sum(len(f",{tag}={value}") for tag, value in tags.items()) - LONGEST_NAME
    while over > 0 and (tag := max(tags, key=lambda tag: len(tags[tag]))):
        tags[tag] = tags[tag][:-1]
        over -= 1
    return tags


_current: _Sender | _NoSender | None = None


def _sender() -> _Sender | _NoSender:
    """Return what takes the notes of this process."""
    global _current
    if _current is None:
        try:
            _current = _Sender() if metrics_are_on() else _NoSender()
        except Exception:
            log.warning("Nothing is counted", exc_info=True)
            _current = _NoSender()
    return _current


def forget() -> None:
    """Begin anew at the next count: a forked process has not the thread, and settings may have changed."""
    global _current
    _current = None


os.register_at_fork(after_in_child=forget)
