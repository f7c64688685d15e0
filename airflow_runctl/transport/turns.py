"""Whose turn it is: so many requests at once to one vendor's address, what stops a run before all else.

Ten thousand runs that are stopped at once are ten thousand flows. If all sent together, most would wait for a
connection until their time was up. So each request of a flow waits for its turn, and the clock of its flow stands
meanwhile (:class:`Line`): time-outs begin when it is its turn. A flow has no turn while it pauses between two looks.

Whoever waits is served by rank (:class:`~airflow_runctl.vendors.base.Rank`): requests to stop a run, then the looks
before them, then what confirms a stop. Polls have turns of their own, so that none of them is ahead of a stop. A
request that is not answered soon gives its turn to the next, and goes on beside: a vendor that hangs for some runs
keeps none of the others waiting. Where the vendor takes so many calls a minute (``budget.py``), who waits for room in
that waits in the same line.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from functools import cache
from typing import Final
from weakref import WeakKeyDictionary

from airflow_runctl.compat import conf
from airflow_runctl.exceptions import NotItsTurn
from airflow_runctl.transport.budget import Allowance, Budget, budget_of
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Effect, HttpRequest, Rank

AT_ONCE: Final = 100
"""Requests to one address that have a turn at once, unless ``[runctl] requests_at_once`` says otherwise."""

SLOW_AFTER: Final = 1.0
"""Seconds after which a request that is not answered yet gives its turn to the next."""

MOST_SLOW: Final = 3
"""How many times as many requests as there are turns may be under way beside."""


@cache
def configured_at_once() -> int:
    """Return how many requests have a turn at once: ``[runctl] requests_at_once``, 1 at the least."""
    at_once: int = conf.getint("runctl", "requests_at_once", fallback=AT_ONCE)
    return max(1, at_once)


class Line:
    """Where one flow stands when its requests wait for their turn, and the time that counts for it."""

    __slots__ = ("rank", "seconds", "until", "waited")

    def __init__(self) -> None:
        self.rank = Rank.POLL
        self.until = math.inf
        """When nothing is of use any more (Unix time)."""
        self.seconds = math.inf
        """How long a request may take from its turn on, its repetitions included."""
        self.waited = 0.0
        """Seconds that its requests have waited for their turn."""

    def now(self) -> float:
        """Return seconds less what was waited; no clock that is set comes between."""
        return time.monotonic() - self.waited

    def bounded(self, patience: Patience) -> Patience:
        """Return ``patience``, but no longer than is of use."""
        if self.seconds < math.inf:
            patience = patience.within(self.seconds)
        return patience if self.until == math.inf else patience.ending(self.until)

    def rank_of(self, request: HttpRequest, *, again: bool) -> Rank:
        """Return the rank of a request of this flow.

        A start waits for no poll; what is sent again waits for what was not sent yet. A look before a stop does not:
        the first request to stop is behind it.
        """
        rank = Rank.ACT if request.effect is Effect.START else self.rank
        return max(rank, Rank.CONFIRM) if again and rank is not Rank.LOOK_BEFORE else rank


class Turns:
    """The turns of one event loop at one address.

    :param at_once: how many there are.
    :param budget: how many calls may be made; ``None`` for no limit.
    """

    def __init__(self, at_once: int, budget: Budget | None = None) -> None:
        self._budget = budget
        self._room: asyncio.TimerHandle | None = None
        self._free = at_once
        self._most_slow = at_once * MOST_SLOW
        self._slow = 0
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._held: dict[int, float] = {}
        """Who has a turn, and since when (the loop's time); the oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, line: Line, rank: Rank) -> int:
        """Return when it is the turn of a request: a number, with which to :meth:`end` it."""
        if self._free > 0 and self._budget is None:
            self._free -= 1
        else:
            await self._wait(line, rank)
        loop, number = asyncio.get_running_loop(), next(self._numbers)
        self._held[number] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(SLOW_AFTER, self._lend)
        return number

    async def _wait(self, line: Line, rank: Rank) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        self._serve()
        began = time.monotonic()
        given_up = None if line.until == math.inf else loop.call_later(line.until - time.time(), _give_up, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give()  # it came in the moment in which nobody wanted it any more
            raise
        finally:
            line.waited += time.monotonic() - began
            if given_up is not None:
                given_up.cancel()

    def end(self, number: int) -> None:
        """End a request: give its turn to whoever is first in the line, unless it was lent."""
        if self._held.pop(number, None) is None:
            self._slow -= 1
        else:
            self._give()

    def _give(self) -> None:
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        """Let those go who are first in the line, as far as there are turns and room; come again when there may be."""
        if self._room is not None:
            self._room.cancel()
            self._room = None
        while self._free > 0 and self._waiting:
            rank, _, turn = self._waiting[0]
            if not turn.done():
                seconds = 0.0 if self._budget is None else self._budget.take(Rank(rank))
                if seconds > 0 and rank == Rank.LOOK_BEFORE:
                    _give_up(turn)  # the stop behind it needs the room, and goes without
                    continue
                if seconds > 0:
                    self._room = asyncio.get_running_loop().call_later(seconds, self._serve)
                    return
                self._free -= 1
                turn.set_result(None)
            heapq.heappop(self._waiting)

    def _lend(self) -> None:
        """Give the turns of slow requests to the next, unless too many are slow; come again when the next may be."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for number, since in list(self._held.items()):
            left = since + SLOW_AFTER - loop.time()
            if left > 0 or self._slow >= self._most_slow:
                self._timer = loop.call_later(max(left, SLOW_AFTER / 10), self._lend)
                return
            del self._held[number]
            self._slow += 1
            self._give()


def _give_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(NotItsTurn())


Key = tuple[str, Allowance | None, bool]

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, Turns]] = WeakKeyDictionary()


def turns_at(address: str, allowance: Allowance | None, rank: Rank) -> Turns:
    """Return the turns of the running event loop at one address: those of polls, or those of all else."""
    here = _turns.setdefault(asyncio.get_running_loop(), {})
    key = (address, allowance, rank is Rank.POLL)
    if key not in here:
        here[key] = Turns(configured_at_once(), budget_of(allowance))
    return here[key]


def forget_turns() -> None:
    """Forget those of the running event loop, before it ends: their timers would keep it."""
    _turns.pop(asyncio.get_running_loop(), None)
