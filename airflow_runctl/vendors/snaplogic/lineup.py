"""The runs that may be the one of a trigger call, as the list of runs shows them, look by look.

What the list gives is inferred, not known. A run is taken for the call's only if

- the vendor's clock says that it was made after the call was sent, and before it ended,
- no other task owns it,
- it stayed the only one for a settling time that is longer than the list lags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_runctl.vendors.base import Search, parse_time
from airflow_runctl.vendors.snaplogic.clock import VendorClock


@dataclass(slots=True)
class Lineup:
    """What may be the run of one call.

    :param search: the search keys of the start, with the runs that were ``known`` before it.
    :param settling_time: seconds for which the only one has to stay so.
    :param begin: when the call was sent (Unix time).
    :param end: when the call ended; infinity while it is open.
    :param clock: the vendor's clock; each look makes it better known.
    :param made: every run that was seen, also one that has gone since: when the vendor made it, if it says so.
    :param candidates: those that may be the one.
    :param since: when these last changed (Unix time).
    """

    search: Search
    settling_time: float
    begin: float
    end: float = float("inf")
    clock: VendorClock = field(default_factory=VendorClock)
    made: dict[str, datetime | None] = field(default_factory=dict)
    candidates: frozenset[str] = frozenset()
    since: float = 0.0

    def see(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember what a look showed."""
        for ruuid in entries.keys() - set(self.search["known"]):
            self.made[ruuid] = parse_time(entries[ruuid].get("create_time"))

    def possible(self) -> frozenset[str]:
        """Return the runs that the vendor may have made for the call, going by the clock."""
        return frozenset(
            ruuid
            for ruuid, made in self.made.items()
            if made is None or self.clock.may_be_within(made, self.begin, self.end)
        )

    def leave(self, candidates: frozenset[str]) -> None:
        """Note which runs a look has left."""
        if candidates != self.candidates:
            self.candidates, self.since = candidates, self.clock.heard_at

    @property
    def has_settled(self) -> bool:
        """True if there are candidates, and they have been the same for the settling time."""
        return bool(self.candidates) and self.clock.heard_at - self.since >= self.settling_time

    def settled(self) -> str | None:
        """Return the run that has been the only one for the settling time, if the vendor says when it was made."""
        if not self.has_settled or len(self.candidates) > 1:
            return None
        (ours,) = self.candidates
        return ours if self.made[ours] is not None else None

    def is_ambiguous(self, wait: float) -> bool:
        """Return True if the candidates could not be told apart for ``wait`` seconds after they had settled."""
        passed = self.clock.heard_at - self.since
        return self.has_settled and self.settled() is None and passed >= self.settling_time + wait
