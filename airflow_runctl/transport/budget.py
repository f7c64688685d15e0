"""How many calls a minute one process makes over one connection: what the vendor takes, and a reserve for stops.

A vendor's limit counts all calls of an account, stops included; the polls of a few hundred runs use it up, and the
stop, which matters most, is answered 429. So polls and confirmations leave a part of it free, for starts and stops:

==============================================  ====================================
what (``Rank``)                                 may use, of the limit
==============================================  ====================================
starts, first requests to stop                  all
what confirms a stop                            nine tenths, of this process's share
polls, all else                                 eight tenths, of this process's share
looks before a stop                             the same; without room it is done without
==============================================  ====================================

What finds no room waits, stops before polls (``turns.py``). pyrate-limiter counts, since it keeps the moments of all
calls: of aiolimiter's leaky bucket twice the limit can come out within a minute, and axiom.ai counts rolling minutes.
Each process counts for itself; :attr:`Allowance.processes` says among how many a limit is divided.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_runctl.vendors.base import Rank

if TYPE_CHECKING:
    from pyrate_limiter import InMemoryBucket

WINDOW: Final = 60.5
"""Seconds. A little more than the minute of the vendor, where calls arrive at other distances than they were sent."""

PARTS: Final = {Rank.LOOK_BEFORE: 0.8, Rank.CONFIRM: 0.9, Rank.POLL: 0.8}
"""Which part of the limit may be used up by what is no start and no stop."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the vendor takes of one connection.

    :param conn_id: the connection.
    :param calls: calls a minute.
    :param processes: how many processes share them.
    """

    conn_id: str
    calls: int
    processes: int = 1

    def room(self, rank: Rank) -> int:
        """Return how many calls this process may have made within a minute, the next one of this rank included."""
        part = PARTS.get(rank)
        return self.calls if part is None else max(1, math.floor(self.calls * part / self.processes))


class Budget:
    """The calls that a process has made over one connection within the last minute.

    :param allowance: how many there may be.
    """

    def __init__(self, allowance: Allowance) -> None:
        # A tenth of a second to import, which a connection without a limit does not need.
        from pyrate_limiter import InMemoryBucket, Rate

        self._allowance = allowance
        # A kill comes here from a signal handler, while the code that it interrupts has the lock.
        self._lock = threading.RLock()
        self._polls_held_until = 0.0
        self._made: InMemoryBucket = InMemoryBucket([Rate(allowance.calls, int(WINDOW * 1000))])

    def take(self, rank: Rank) -> float:
        """Take a call of this rank if there is room: return 0.0, or the seconds until there may be."""
        from pyrate_limiter import RateItem

        room = self._allowance.room(rank)
        with self._lock:
            now = int(time.monotonic() * 1000)
            self._made.leak(now)
            held = self._polls_held_until - now / 1000 if rank is Rank.POLL else 0.0
            if held <= 0 and self._made.count() < room and self._made.put(RateItem("", now)):
                return 0.0
            # Once this one is out of the window, one less than there is room for is in it.
            oldest = self._made.peek(room - 1)
            seconds = max(SHORTEST, held, 0.0 if oldest is None else oldest.timestamp / 1000 + WINDOW - now / 1000)
            if rank in (Rank.ACT, Rank.CONFIRM):
                self._polls_held_until = now / 1000 + seconds + STOPS_FIRST
            return seconds


STOPS_FIRST: Final = 0.25
"""Seconds for which polls leave the room that comes up to a stop that has waited for it, and to its next request."""

SHORTEST: Final = 0.01
"""Seconds after which one who found no room asks again, at the soonest."""

_budgets: dict[Allowance, Budget] = {}
_making: Final = threading.RLock()


def budget_of(allowance: Allowance | None) -> Budget | None:
    """Return the one budget of this process for an allowance; none without a limit."""
    if allowance is None:
        return None
    with _making:
        if allowance not in _budgets:
            _budgets[allowance] = Budget(allowance)
        return _budgets[allowance]
