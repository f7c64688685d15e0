"""The routes that tell what became of runs, as far as Airflow's records still have it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from airflow_runctl.compat import page_tables, tables
from airflow_runctl.compat.api_server import READ
from airflow_runctl.compat.page_tables import Kept
from airflow_runctl.control import history as kept_history
from airflow_runctl.control.inventory import Inventory, Scope
from airflow_runctl.control.stop_note import StopNote
from airflow_runctl.plugin.facts import facts_of
from airflow_runctl.plugin.login import Reader
from airflow_runctl.plugin.reading import Readable
from airflow_runctl.plugin.source import asked
from airflow_runctl.plugin.words import Event, Lengths, Record, Records, Run, Stops, Summary, Where, Window
from airflow_runctl.runs import AUDIT_KEY, HANDLE_KEY, HISTORY_KEY, SHOWN, TaskKey, printable, state_in

MOST: Final = 500
"""XComs that are read of a Dag run."""

SUMMED: Final = 5000
"""Records that are summed up."""

router = APIRouter(tags=["History"])


@router.get("/history")
async def show_history(reader: Reader, source: Readable, which: Annotated[Where, Query()]) -> Records:
    """Tell of the runs of a task instance or of a Dag run, living and over."""
    dag_ids = await reader.may(READ, {which.dag_id})
    if not dag_ids:
        return Records(records=[], is_all=True)
    scope = Scope(dag_id=which.dag_id, run_id=which.dag_run_id, task_id=which.task_id, map_index=which.map_index)
    place = {"run_id": scope.run_id, "task_id": scope.task_id, "map_index": scope.map_index}
    rows = await asked(page_tables.kept)((AUDIT_KEY, HANDLE_KEY, HISTORY_KEY), dag_ids, most=MOST, **place)
    live = await Inventory(source, history=True).runs(scope)
    facts = await facts_of(reader, source, live)
    shown = {run.where: Run(**facts.shown(run)) for run in live}
    found: dict[TaskKey, dict[str, Kept]] = defaultdict(dict)
    for row in rows:
        found[row.where][row.key] = row
    wheres = sorted({*found, *shown}, key=lambda where: (where.task_id, where.map_index))
    records = [_record(where, found[where], shown.get(where)) for where in wheres]
    return Records(records=records, is_all=len(rows) < MOST)


@router.get("/stops")
async def sum_up(reader: Reader, window: Annotated[Window, Query()]) -> Summary:
    """Sum up what became of runs in the last days: stops by reason and outcome, and how long runs took."""
    dag_ids = await reader.may(READ, await asked(tables.dags_with)(AUDIT_KEY, window.dag_id))
    since = datetime.now(UTC) - timedelta(days=window.days)
    rows = await asked(page_tables.kept)((AUDIT_KEY,), dag_ids, since=since, most=SUMMED) if dag_ids else []
    return Summary(
        since=since.isoformat(),
        records=len(rows),
        is_all=len(rows) < SUMMED,
        stops=_stops(rows),
        lengths=_lengths(rows),
    )


# -- one record ----------------------------------------------------------------------------------------------


def _record(where: TaskKey, rows: Mapping[str, Kept], live: Run | None) -> Record:
    past = rows.get(HISTORY_KEY)
    audit, at = _mapping(rows.get(AUDIT_KEY)), rows[AUDIT_KEY].at if AUDIT_KEY in rows else None
    handle = _mapping(rows.get(HANDLE_KEY))
    shown = handle or audit
    is_same = not handle or all(audit.get(name) == handle.get(name) for name in ("run_id", "started_at"))
    known = audit if is_same else {}
    stop = StopNote.read(known.get("stop"))
    return Record(
        dag_id=where.dag_id,
        dag_run_id=where.run_id,
        task_id=where.task_id,
        map_index=where.map_index,
        **{name: _text(shown.get(name), 1000) for name in SHOWN},
        state=_text(known.get("state")),
        vendor_state=_text(known.get("vendor_state")),
        recorded_at=at.isoformat() if at and known else None,
        stop=stop.out() if stop else None,
        events=[Event(**event) for event in kept_history.read(past.value if past else None, known)],
        live=live,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _mapping(row: Kept | None) -> Mapping[str, Any]:
    return row.value if row is not None and isinstance(row.value, Mapping) else {}


def _text(value: object, length: int = 80) -> str | None:
    return None if value is None else printable(value, length)


# -- the sum of many -------------------------------------------------------------------------------------------


def _stops(rows: Iterable[Kept]) -> list[Stops]:
    counted: Counter[tuple[str, str | None]] = Counter()
    seconds: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for row in rows:
        note = StopNote.read(_mapping(row).get("stop"))
        if note is None:
            continue
        key = (note.reason.value, note.outcome.value if note.outcome else None)
        counted[key] += 1
        if _is_number(note.seconds):
            seconds[key].append(float(note.seconds or 0))
    return [
        Stops(reason=key[0], outcome=key[1], count=count, median=_middle(seconds[key]))
        for key, count in counted.most_common()
    ]


def _lengths(rows: Iterable[Kept]) -> list[Lengths]:
    """Return how long runs took, from the start to when their end was recorded."""
    took: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for row in rows:
        audit = _mapping(row)
        ended, vendor = state_in(audit), audit.get("vendor")
        if ended is not None and ended.is_terminal and vendor is not None:
            took[printable(vendor), ended.value].append(_seconds(audit.get("started_at"), row.at))
    found = []
    for (vendor, state), all_of_them in sorted(took.items()):
        known = [one for one in all_of_them if one is not None]
        longest = max(known, default=None)
        found.append(
            Lengths(vendor=vendor, state=state, count=len(all_of_them), median=_middle(known), longest=longest)
        )
    return found


def _seconds(began: object, ended: datetime | None) -> float | None:
    try:
        moment = datetime.fromisoformat(str(began))
    except ValueError:
        return None
    if ended is None or moment.tzinfo is None:
        return None
    return round(max(0.0, (ended - moment).total_seconds()), 1)


def _middle(numbers: list[float]) -> float | None:
    return round(median(numbers), 1) if numbers else None
