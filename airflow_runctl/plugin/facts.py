"""What a page is told of live runs beyond the inventory: deadlines, and what the user who asks may do about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_runctl.compat import page_tables
from airflow_runctl.compat.api_server import EDIT
from airflow_runctl.control.errands import Act
from airflow_runctl.control.inventory import COMES, FOLLOWS, KnownRun
from airflow_runctl.plugin.login import Caller
from airflow_runctl.plugin.source import Tables, asked
from airflow_runctl.plugin.ways import command
from airflow_runctl.runs import TaskKey


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for several runs.

    :param editable: the Dags whose task instances the user may edit.
    :param deadlines: those of the Dag runs that go on: since when each counts, and until when.
    :param began: when the latest attempts began.
    """

    editable: frozenset[str]
    deadlines: Mapping[tuple[str, str], Sequence[tuple[datetime, datetime]]]
    began: Mapping[TaskKey, datetime | None] = field(repr=False)

    def shown(self, run: KnownRun) -> dict[str, Any]:
        """Return a run as it is shown."""
        where, began = run.where, self.began.get(run.where)
        state = run.attempt.state if run.attempt else "unknown"
        due = self.deadlines.get((where.dag_id, where.run_id), ())
        return {
            **run.out(datetime.now(UTC)),
            "state": _state(run),
            "began_at": began.isoformat() if began else None,
            "deadlines": [{"since": since.isoformat(), "until": until.isoformat()} for since, until in due],
            "may_stop": where.dag_id in self.editable,
            "ends_task": state in FOLLOWS | COMES,
            "needs_way": state not in FOLLOWS,
            "by_hand": {act.value: command(act, run) for act in (Act.STOP, Act.RESUME)},
        }


async def facts_of(asking: Caller, source: Tables, runs: Sequence[KnownRun]) -> Facts:
    """Return what holds for these runs."""
    dag_ids = {run.where.dag_id for run in runs}
    if not dag_ids:
        return Facts(frozenset(), {}, {})
    editable, due = await asyncio.gather(asking.may(EDIT, dag_ids), asked(page_tables.deadlines)(dag_ids))
    return Facts(editable, due, source.began)


def _state(run: KnownRun) -> str | None:
    """Return the state that goes with the vendor's word that was recorded last, in this package's words."""
    word, _ = run.seen
    if word is None:
        return None
    audit = run.audit.value if run.audit and isinstance(run.audit.value, Mapping) else {}
    told = [event for event in run.history if event.get("run_id") == run.run_id and event.get("state")]
    states = {event.get("vendor_state"): event["state"] for event in told}
    state = states.get(word, audit.get("state"))
    return None if state is None else str(state)
