"""Follows the runs of a connection together: one list for all of them, instead of a look at each.

The theory. A list lags, moves while it is paged, leaves out, and shows what has passed. So it is believed one thing
only: that a run is as it was at the last look at the run itself. Whatever else a list shows of a run, or that it does
not show it, is worth a look at that run, and only such a look ends the watching. An old list can make an end be
noticed later, never wrongly.

Whether a list is behind comes out: with each list the run that was longest not looked at is looked at too. If a later
list still shows a run as it was before such a look saw it otherwise, lists are not asked for some time.

Each watcher rests here between two looks (:meth:`Rounds.next_look`) and has its own time at which the next is due; a
list takes along whoever would be due soon. Its limits are timers of its own, which no list holds up. Whoever watches
may come, go, or be cancelled at any time: the list is asked for by a task that belongs to none of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import datetime
from itertools import chain
from typing import Final
from weakref import WeakKeyDictionary

from airflow_runctl.control.watch import LONGEST_WAIT, POLL_PATIENCE, Watched
from airflow_runctl.exceptions import RateLimited, RunctlError, TransportError
from airflow_runctl.hooks.base import Access
from airflow_runctl.metrics import count_poll
from airflow_runctl.runs import ExternalRun
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import WORTH_A_LIST, Flow, FlowClock, Glance, Hurry, NextLook, Rank, Vendor

log = logging.getLogger(__name__)

TOGETHER: Final = 0.5
"""A list takes along whoever is due within this part of its own interval, or before the list that comes next."""

LIST_PATIENCE: Final = Patience(total=5.0, answer=10.0)

LONGEST_LIST: Final = 15.0
"""Seconds after which no further page is asked for, and the list counts as one that could not be had."""

AFTER_NO_LIST: Final = 60.0
"""Seconds for which each run is looked at singly after a list that could not be had; less often if that was for too
many calls."""

AFTER_OLD_LIST: Final = 600.0
"""Seconds for which each run is looked at singly after a list that was found to be behind."""

PER_OWN_LOOK: Final = 1000
"""Of so many runs that a list shows as they were, one is looked at itself."""

APART: Final = 0.002
"""Seconds between two watchers that a list wakes: all at once would hold up the event loop."""


RunKey = tuple[str, datetime]
"""A run's id, and when it began: axiom.ai's runs may share what stands for an id."""


class Resting:
    """A watcher between two looks.

    :param look: what it waits for.
    :param now: the loop's time: that of its last look.
    """

    __slots__ = ("due", "ends_at", "look", "since", "timer", "woken")

    def __init__(self, look: NextLook, now: float, woken: asyncio.Future[None]) -> None:
        self.look = look
        self.since = now
        self.due = now + look.seconds
        # By the clock of the wall, which limits go by, and which may be set.
        self.ends_at = time.time() + look.at_most
        self.woken = woken
        self.timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Let its watcher go on, unless it does already."""
        if not self.woken.done():
            self.woken.set_result(None)


class Rounds:
    """The watchers of one connection in one event loop.

    :param access: the connection.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.watchers = 0
        self._loop = asyncio.get_running_loop()
        self._resting: dict[RunKey, set[Resting]] = {}
        self._asking: asyncio.Task[None] | None = None
        """Asks for the list."""
        self._late: list[Resting] = []
        """Those who became due while it did."""
        self._singly_until = 0.0
        self._singly_every = 0.0
        self._relied_on: dict[RunKey, tuple[ExternalRun, str]] = {}
        """Runs that the last list showed as they were, and that are being looked at since."""
        self._changed: list[tuple[ExternalRun, str]] = []
        """Those of them that the look saw otherwise, and how the list had them."""

    async def next_look(self, look: NextLook) -> None:
        """Return when a look is worth it."""
        self.saw(look.run, look.word)
        now = self._loop.time()
        resting = Resting(look, now, self._loop.create_future())
        if now < self._singly_until:
            resting.due = max(resting.due, now + self._singly_every)
        self._resting.setdefault(_key(look.run), set()).add(resting)
        limit = self._loop.call_later(look.at_most, resting.wake) if look.at_most < math.inf else None
        self._set_timer(resting)
        try:
            await resting.woken
        finally:
            for timer in (limit, resting.timer):
                if timer is not None:
                    timer.cancel()
            self._forget(resting)

    def saw(self, run: ExternalRun, word: str | None) -> None:
        """Note what a look at ``run`` itself saw; ``None`` if it brought nothing."""
        relied_on = self._relied_on.pop(_key(run), None)
        if relied_on is not None and word not in (None, relied_on[1]):
            self._changed.append(relied_on)

    def wake(self, run: ExternalRun) -> None:
        """Let whoever watches ``run`` look now."""
        for resting in self._resting.get(_key(run), ()):
            resting.wake()

    def _forget(self, resting: Resting) -> None:
        same = self._resting[_key(resting.look.run)]
        same.discard(resting)
        if not same:
            del self._resting[_key(resting.look.run)]

    def close(self) -> None:
        """End what is under way; nobody waits for it any more."""
        if self._asking is not None:
            self._asking.cancel()

    def _set_timer(self, resting: Resting) -> None:
        if resting.timer is not None:
            resting.timer.cancel()
        resting.timer = self._loop.call_at(resting.due, self._is_due, resting)

    def _is_due(self, resting: Resting) -> None:
        resting.timer = None
        now = self._loop.time()
        if resting.due - now > APART:  # a list has shown meanwhile that it need not look yet
            self._set_timer(resting)
        elif resting.look.word is None or now < self._singly_until or not self.access.vendor.can_glance:
            resting.wake()
        elif self._asking is not None:
            self._late.append(resting)
        else:
            self._look_together(resting, now)

    def _look_together(self, first: Resting, now: float) -> None:
        together = [
            one
            for one in chain.from_iterable(self._resting.values())
            if one.look.word is not None
            and not one.woken.done()
            and one.due - now <= max(one.look.seconds * TOGETHER, first.look.seconds)
        ]
        if len(together) < WORTH_A_LIST:
            first.wake()
            return
        # An empty context: else its log lines land in the file of whichever trigger was due first.
        self._asking = self._loop.create_task(self._ask(together), context=Context())
        self._asking.add_done_callback(self._asked)

    def _asked(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        late, self._late = self._late, []
        for resting in late:
            # Not whom the list gave another time, or is about to wake.
            if resting.timer is None and resting.due < math.inf and not resting.woken.done():
                self._is_due(resting)

    async def _ask(self, together: list[Resting]) -> None:
        """Ask for the list; wake whom it gives a reason to look, and let the others rest for another interval."""
        as_before: frozenset[Resting] = frozenset()
        changed, self._changed = self._changed, []
        try:
            watched = [(one.look.run, str(one.look.word)) for one in together]
            count_poll(self.access.vendor.name)
            glance = await self.access.adrive(_list(self.access.vendor, watched), LIST_PATIENCE)
            if any(glance(run) == word for run, word in changed):
                log.warning("%s's list of runs is behind: each run is looked at itself", self.access.vendor.label)
                self._look_singly(AFTER_OLD_LIST)
            else:
                as_before = frozenset(one for one in together if self._is_as_before(one, glance))
        except RateLimited as error:
            log.info("Too many calls for a list of the runs of connection %r: %s", self.access.conn_id, error)
            pause = min(max(AFTER_NO_LIST, error.retry_after or 0.0), LONGEST_WAIT)
            self._look_singly(pause, every=pause)
        except RunctlError as error:
            log.info("No list of the runs of connection %r: %s", self.access.conn_id, error)
            self._look_singly(AFTER_NO_LIST)
        except Exception:
            log.exception("The list of the runs of connection %r was of no use", self.access.conn_id)
            self._look_singly(AFTER_NO_LIST)
        finally:
            self._go_on(together, as_before)

    def _is_as_before(self, one: Resting, glance: Glance) -> bool:
        word = glance(one.look.run)
        return word is not None and word == one.look.word and self.access.vendor.state_of(word).is_live

    def _look_singly(self, seconds: float, every: float = 0.0) -> None:
        """Ask for no list for some time, and look at each run itself, no more often than ``every`` so many seconds."""
        self._singly_until = self._loop.time() + seconds
        self._singly_every = every

    def _go_on(self, together: list[Resting], as_before: frozenset[Resting]) -> None:
        now, wall = self._loop.time(), time.time()
        waiting = [one for one in together if not one.woken.done()]
        unchanged = [one for one in waiting if one in as_before and wall < one.ends_at]
        unchanged.sort(key=lambda one: one.since)
        own_looks = -(-len(unchanged) // PER_OWN_LOOK)
        for one in unchanged[:own_looks]:
            self._relied_on[_key(one.look.run)] = (one.look.run, str(one.look.word))
        resting = frozenset(unchanged[own_looks:])
        for one in resting:
            one.due = now + one.look.seconds
            if one.timer is None:
                self._set_timer(one)
        self._wake([one for one in waiting if one not in resting])

    def _wake(self, looking: list[Resting]) -> None:
        """Let these look, not all at once; within the time in which each may look once, if that is limited."""
        every = self._singly_every if self._loop.time() < self._singly_until else 0.0
        apart = max(APART, every / max(1, len(looking)))
        for number, one in enumerate(looking):
            one.due = math.inf
            if one.timer is not None:
                one.timer.cancel()
                one.timer = None
            self._loop.call_later(number * apart, one.wake)


def _list(vendor: Vendor, watched: list[tuple[ExternalRun, str]]) -> Flow[Glance]:
    """Ask for the list, and for no page more once it takes too long. What it waits for its turn does not count."""
    clock: FlowClock = yield Hurry(Rank.POLL)
    began, flow, answer = clock.now(), vendor.glance(watched), None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            found: Glance = done.value
            return found
        if clock.now() - began > LONGEST_LIST:
            raise TransportError(f"A list of runs took longer than {LONGEST_LIST:.0f} s.", sent=True)
        answer = yield step


def _key(run: ExternalRun) -> RunKey:
    return run.run_id, run.started_at


_rounds: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Rounds]] = WeakKeyDictionary()


def _rounds_of(access: Access) -> Rounds | None:
    """Return who watches over the same connection in this loop; it is another one once the connection has changed."""
    here = _rounds.get(asyncio.get_running_loop(), ())
    return next((rounds for rounds in here if rounds.access == access), None)


@contextmanager
def _watching(access: Access) -> Iterator[Rounds]:
    here = _rounds.setdefault(asyncio.get_running_loop(), [])
    rounds = _rounds_of(access)
    if rounds is None:
        here.append(rounds := Rounds(access))
    rounds.watchers += 1
    try:
        yield rounds
    finally:
        rounds.watchers -= 1
        if not rounds.watchers:
            here.remove(rounds)
            rounds.close()


async def follow_together(
    access: Access, run: ExternalRun, flow: Flow[Watched], listener: Callable[[object], Awaitable[None]]
) -> Watched:
    """Drive a flow that follows ``run``, with few requests where others of the connection are followed too.

    :param flow: :func:`~airflow_runctl.control.watch.follow`.
    :param listener: gets what the flow tells.
    """
    with _watching(access) as rounds:
        watched = await access.adrive(flow, POLL_PATIENCE, listener=listener, next_look=rounds.next_look)
        if watched.status is not None:
            rounds.saw(run, watched.status.vendor_state)
        return watched


def look_now(access: Access, run: ExternalRun) -> None:
    """Let whoever watches ``run`` in this event loop look at it now: it was just told to stop."""
    if (rounds := _rounds_of(access)) is not None:
        rounds.wake(run)
