"""Which of the runs that came up is the one of a start whose process was lost before it could record it?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from airflow_runctl.exceptions import StartUncertain
from airflow_runctl.vendors.base import Started

EARLIER: Final = timedelta(seconds=60)
"""How much earlier than it was written ahead a run may seem to be made: the vendor's clock is another."""

LATER: Final = timedelta(seconds=120)
"""How long after it was written ahead a run of ours may be made: what comes later is somebody else's."""


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
