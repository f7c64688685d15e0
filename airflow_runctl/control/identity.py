"""Which of the runs that came up is the one of a start whose process was lost before it could record it?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from airflow_runctl.control.records import LISTED_AFTER
from airflow_runctl.exceptions import StartUncertain
from airflow_runctl.vendors.base import Flow, Hurry, Owned, Pause, Rank, Search, Started, Vendor

EARLIER: Final = timedelta(seconds=60)
"""How much earlier than it was written ahead a run may seem to be made: the vendor's clock is another."""

LATER: Final = timedelta(seconds=120)
"""How long after it was written ahead a run of ours may be made: what comes later is somebody else's."""

LOOK_AGAIN: Final = 1.0


def search_lost(vendor: Vendor, search: Search, began: datetime, *, until: float) -> Flow[Started | None]:
    """Look for the run that a lost start made; ``None`` if none came up.

    Runs that other tasks own are not it. What was started a moment ago need not be listed yet, nor be the only one
    for long: both are waited for, as long as the start is young.

    :param search: what was written ahead.
    :param began: when that was.
    :param until: until when a run may still be listed (Unix time).
    :raises StartUncertain: if nothing tells which it is; it names them all.
    """
    seen: frozenset[str] | None = None
    since = time.time()
    yield Hurry(Rank.LOOK_BEFORE)
    while True:
        found = yield from vendor.find(search)
        owned = (yield Owned(frozenset(run.run_id for run in found))) if found else frozenset()
        left = [run for run in found if run.run_id not in owned]
        ids = frozenset(run.run_id for run in left)
        if ids != seen:
            seen, since = ids, time.time()
        settled = bool(left) and time.time() - since >= vendor.settling_time
        if settled or time.time() >= until:
            return the_one(left, began)
        yield Pause(LOOK_AGAIN)


def lists_until(began: datetime) -> float:
    """Return until when the run of a start may still be missing from the vendor's list (Unix time)."""
    return began.timestamp() + LISTED_AFTER


def the_one(found: Sequence[Started], began: datetime) -> Started | None:
    """Return the run that the start made, ``None`` if none came up.

    :param found: what came up since then.
    :param began: when the start was written ahead.
    :raises StartUncertain: if nothing tells which it is; it names them all.
    """
    if not found:
        return None
    near = [run for run in found if run.created_at is None or -EARLIER <= run.created_at - began <= LATER]
    if len(near) == 1:
        return near[0]
    names = tuple(run.run_id for run in found)
    raise StartUncertain(f"Nothing tells which it is of: {', '.join(names)}.", candidates=names)
