"""The other tasks of a Dag run that start runs at the same vendor: what they own, and whose turn it is to start.

Where a start does not say which run it made, two of them at once cannot be told apart. So siblings whose runs could
be taken for each other's start one after the other: each holds the turn until its run is known.

Airflow offers no lock, but XComs that every worker reads as they were written. A task writes that it holds the turn,
*then* reads what the others wrote, and goes on only if none of them holds it: of two that write at the same moment at
least one sees the other, and the later in line (by the time at which it came) steps back and waits for the one right
before it. What a task leaves that is over says nothing: its state does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_runctl.compat import BlockingChannel, delete_xcom, get_xcom, set_xcom
from airflow_runctl.control.dag_run_records import owned_by_others, starting_tasks
from airflow_runctl.control.records import TURN_KEY
from airflow_runctl.control.stop_many import Connections
from airflow_runctl.runs import TaskKey
from airflow_runctl.vendors.base import Search

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
LOOK_AROUND: Final = 20.0
"""Seconds after which a task that waits looks at all the others again, not only at the one before it."""

LONGEST_TURN: Final = 120.0
"""Seconds after which a turn counts no more: its task may have been lost with its worker."""

LONGEST_IDLE: Final = 15.0
"""Seconds in which those before one have to take the turn if nobody holds it; then they are passed over."""


LONGEST_SILENCE: Final = 30.0
"""Seconds for which Airflow is asked again whose runs there are, if it does not answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a task says of its turn.

    :param came: when it came, Unix time: the order of the line.
    :param where: the task instance; it orders those that came at the same moment.
    :param alike: the search keys by which runs could be taken for each other's.
    :param since: since when it holds the turn (Unix time), ``None`` while it waits.
    """

    came: float
    where: TaskKey
    alike: Search
    since: float | None = None

    @property
    def place(self) -> tuple[float, str]:
        """Where it stands in line."""
        return self.came, str(self.where)

    @property
    def is_held(self) -> bool:
        """True for the one whose turn it is."""
        return self.since is not None and time.time() - self.since < LONGEST_TURN

    def out(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"came": self.came, "alike": dict(self.alike), "since": self.since}

    @classmethod
    def read(cls, value: Any, where: TaskKey) -> Turn | None:
        """Return what :meth:`out` made plain."""
        if not isinstance(value, Mapping) or not isinstance(value.get("alike"), Mapping):
            return None
        came, since = value.get("came"), value.get("since")
        if not isinstance(came, int | float) or not isinstance(since, int | float | None):
            return None
        return cls(came, where, value["alike"], since)


@dataclass(slots=True)
class Siblings:
    """The other tasks of the Dag run that start runs at the same vendor.

    :param where: the task instance that asks.
    :param tasks: ids of the tasks; with none there is nobody to ask.
    :param sleep: waits for so many seconds.
    """

    where: TaskKey
    tasks: frozenset[str] = frozenset()
    sleep: Callable[[float], None] = time.sleep

    def owned(self, run_ids: frozenset[str]) -> frozenset[str]:
        """Return those of the runs that the records of siblings claim."""
        if not self.tasks:
            return frozenset()
        until = time.monotonic() + LONGEST_SILENCE
        while True:
            channel = BlockingChannel(writable=True)
            try:
                return run_ids & asyncio.run(owned_by_others(channel, Connections(channel), self.where, self.tasks))
            except Exception:
                # The run is there and not known yet: an Airflow that is away for a moment must not end the search.
                if time.monotonic() > until:
                    raise
                log.warning("Airflow does not say whose the runs are; it is asked again", exc_info=True)
            self.sleep(LOOK_EVERY)

    @contextmanager
    def turn(
        self, alike: Search | None, still_wanted: Callable[[], None], wait: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Start inside this while no sibling is at it whose run could be taken for one's own.

        :param alike: by what; ``None`` where the start says which run it made.
        :param still_wanted: raises if nothing is to be started any more.
        :param wait: called once, before others are waited for.
        """
        if alike is None or not self.tasks:
            yield
            return
        mine = Turn(time.time(), self.where, alike)
        try:
            self._take(mine, still_wanted, wait)
            yield
        finally:
            try:
                delete_xcom(TURN_KEY, self.where)
            except Exception:
                log.warning("Could not pass the turn on; the others wait until this task is over", exc_info=True)

    def _take(self, mine: Turn, still_wanted: Callable[[], None], wait: Callable[[], None] | None) -> None:
        mine = self._say(mine, holds=True)
        idle_since: float | None = None
        waits = False
        while True:
            still_wanted()
            others = [turn for turn in self._others() if _overlap(turn.alike, mine.alike)]
            held = [turn for turn in others if turn.is_held]
            idle_since = None if held else idle_since or time.monotonic()
            passed_over = idle_since is not None and time.monotonic() - idle_since > LONGEST_IDLE
            before = [] if passed_over else [turn for turn in others if turn.since is None and turn.place < mine.place]
            in_the_way = sorted(held + before, key=lambda turn: turn.place)
            if not in_the_way and mine.is_held:
                return
            if not in_the_way:
                mine = self._say(mine, holds=True)
                continue
            if mine.since is not None and in_the_way[0].place < mine.place:
                mine = self._say(mine, holds=False)
            if not waits:
                log.info("Waiting for %s, which starts what could be taken for this task's run", in_the_way[-1].where)
                waits = True
                if wait is not None:
                    wait()
            self._until_changed(in_the_way[-1], still_wanted)

    def _until_changed(self, other: Turn, still_wanted: Callable[[], None]) -> None:
        """Wait until a sibling has said something new, for a while: it may have been lost."""
        until = time.monotonic() + LOOK_AROUND
        while time.monotonic() < until:
            self.sleep(LOOK_EVERY)
            still_wanted()
            if Turn.read(get_xcom(TURN_KEY, other.where), other.where) != other:
                return

    def _say(self, mine: Turn, *, holds: bool) -> Turn:
        mine = replace(mine, since=time.time() if holds else None)
        set_xcom(TURN_KEY, mine.out(), self.where)
        return mine

    def _others(self) -> list[Turn]:
        """Return the turns of the siblings that run."""
        channel = BlockingChannel(writable=True)
        places = asyncio.run(starting_tasks(channel, self.where, self.tasks))
        turns = (Turn.read(get_xcom(TURN_KEY, place), place) for place in places)
        return [turn for turn in turns if turn is not None]


def _overlap(one: Search, other: Search) -> bool:
    """Return True if runs of two starts could be taken for each other's: what is not said can be anything."""
    return all(one.get(name) is None or other.get(name) in (None, one[name]) for name in one)
