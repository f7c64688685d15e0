"""Stops up to 10,000 live runs from one callback: look, stop, confirm; beside a bare gather of the same requests."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any, Final

from tests.benchmarks.fresh import fresh, profiled
from tests.benchmarks.rows import Measured, Point, Row
from tests.servers.many_runs import ManyRunsElsewhere, run_ids

BUDGET: Final = 1.25
BARE: Final = "bare aiohttp gather"
LEAST: Final = 1_000
"""With fewer runs there is no budget."""

STEADY: Final = 1.1
"""What still counts as no growth of a run's own time."""

BEST_OF: Final = 3
AT_ONCE: Final = 100
"""Requests under way at once, on both sides."""


class Handles:
    """Airflow as one callback sees it, with everything it asks for in memory: its own time is not ours."""

    writable = True

    def __init__(self, owned: dict[Any, dict[str, Any]]) -> None:
        from airflow_runctl.runs import HANDLE_KEY

        self._xcoms: dict[tuple[Any, str], Any] = {(where, HANDLE_KEY): handle for where, handle in owned.items()}
        self._states: dict[str, str | None] = {where.task_id: "deferred" for where in owned}

    async def connection(self, conn_id: str) -> tuple[Any, dict[str, Any]]:
        from airflow_runctl.compat import BaseHook

        conn = BaseHook.get_connection(conn_id)
        return conn, conn.extra_dejson

    async def get(self, key: str, where: Any) -> Any:
        return self._xcoms.get((where, key))

    async def set(self, key: str, value: Any, where: Any) -> None:
        self._xcoms[where, key] = value

    async def delete(self, key: str, where: Any) -> None:
        self._xcoms.pop((where, key), None)

    async def task_states(self, dag_id: str, run_id: str, only: Any = None) -> dict[str, str | None]:
        return self._states

    async def variables(self, prefix: str) -> list[str]:
        return []

    async def delete_variable(self, name: str) -> None: ...


def ours(url: str, runs: int) -> float:
    """Return the seconds that it takes us, records of each intent and outcome included."""
    from airflow_runctl.control.readiness import loaded
    from airflow_runctl.control.stop import StopNote
    from airflow_runctl.control.stop_dag_run import DagRunStop
    from airflow_runctl.runs import StopReason
    from airflow_runctl.transport.aio import close_session
    from tests.benchmarks import snaplogic

    owned = snaplogic.handles(snaplogic.connect(url), runs)

    async def stop_all() -> float:
        await loaded()
        note = StopNote(StopReason.DEADLINE, "benchmark")
        gc.collect()  # what the imports have left behind is in nobody's figure
        began = time.perf_counter()
        with profiled(f"ours: stop {runs}"):
            reports = await DagRunStop(Handles(owned), snaplogic.DAG_ID, snaplogic.RUN_ID, note).run()
        seconds = time.perf_counter() - began
        stopped = [report for report in reports if report.result and report.result.outcome.value == "stopped"]
        assert len(stopped) == runs, f"{len(stopped)} of {runs}"
        await close_session()
        return seconds

    return asyncio.run(stop_all())


def bare(url: str, runs: int) -> float:
    """Return the seconds that the same requests take a bare client which gathers them."""
    import aiohttp

    from airflow_runctl.vendors.base import basic

    base = f"{url}/api/1/rest/public/runtime"

    async def stop(session: aiohttp.ClientSession, run_id: str) -> None:
        for method, path in (("GET", "Acme"), ("POST", "stop/Acme"), ("GET", "Acme")):
            async with session.request(method, f"{base}/{path}/{run_id}") as answer:
                told = await answer.json()
        assert told["response_map"]["state"] == "Stopped"

    async def stop_all() -> float:
        headers = basic("ops@example.com", "the password")
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
            gc.collect()
            began = time.perf_counter()
            with profiled(f"bare aiohttp: stop {runs}"):
                await asyncio.gather(*(stop(session, run_id) for run_id in run_ids(runs)))
            return time.perf_counter() - began

    return asyncio.run(stop_all())


def stop_all(server: ManyRunsElsewhere, runs: int, best_of: int) -> tuple[float, float]:
    """Return the best times of both, in turns, each time with all runs alive before and stopped after."""
    best: dict[Any, list[float]] = {ours: [], bare: []}
    for _ in range(best_of):
        for measure, seconds in best.items():
            server.begin(runs)
            seconds.append(fresh(measure, url=server.url, runs=runs))
            stopped = server.seen()["stopped"]
            assert stopped == runs, f"{stopped} of {runs} were stopped"
    return min(best[ours]), min(best[bare])


def measure(sizes: tuple[int, ...] = (100, 1_000, 10_000)) -> Measured:
    """Measure these sizes, all but the largest several times, in turns."""
    took: dict[int, tuple[float, float]] = {}
    with ManyRunsElsewhere() as server:
        for runs in sizes:
            took[runs] = stop_all(server, runs, BEST_OF if runs <= 1_000 else 1)
    rows = [_row(runs, *seconds) for runs, seconds in took.items() if runs >= LEAST]
    if len(rows) > 1:
        rows.append(_growth(took, *sizes[-2:]))
    points = [
        Point("time to stop all", who, runs, figure, "s")
        for runs, seconds in took.items()
        for who, figure in zip(("ours", "bare aiohttp"), seconds, strict=True)
    ]
    return Measured(tuple(rows), tuple(points))


def _row(runs: int, ours: float, theirs: float) -> Row:
    work = f"stop {runs:,} live runs (look, stop, confirm) from one callback"
    return Row(work, ours, theirs, BARE, "s", f"all, {BUDGET} x", ours <= BUDGET * theirs, 2)


def _growth(took: dict[int, tuple[float, float]], few: int, many: int) -> Row:
    """Say how much longer each run takes where there are many of them: cost is to grow with them, not faster."""
    ours, theirs = (long / many / (short / few) for short, long in zip(took[few], took[many], strict=True))
    work = f"time for each of {many:,} stops, compared with each of {few:,}"
    return Row(work, ours, theirs, BARE, "x", f"{STEADY} x, or the other's", ours <= max(STEADY, theirs), 2)
