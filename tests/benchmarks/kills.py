"""Clears 200 deferred tasks at once, each stop call taking 0.5 s: how many runs are stopped within Airflow's cap.

The triggers run in Airflow's own ``TriggerRunner.run_trigger`` and are cancelled as it does that for a user: with every
look at its list of triggers, a second apart, once more, until they are done. Airflow answers one question after the
other, each in ``AIRFLOW_ANSWERS`` seconds, as its supervisor was seen to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from tests.benchmarks import peers
from tests.benchmarks.fresh import fresh
from tests.benchmarks.rows import Measured, Row
from tests.benchmarks.watching import still_watching
from tests.servers.many_runs import ManyRunsElsewhere, ask

RUNS: Final = 200
STOP_CALL: Final = 0.5
CAP: Final = 30.0
"""Seconds that Airflow gives ``on_kill``: ``[triggerer] on_kill_timeout``."""

AIRFLOW_ANSWERS: Final = 0.012
LOOK_EVERY: Final = 1.0
"""Seconds between two looks of a triggerer at what it has to cancel."""

OURS: Final = "ours"


def kill(who: str, url: str, runs: int, again: bool) -> tuple[int, float]:
    """Return how many runs are stopped once Airflow's cap is over, and when the tasks were cleared (monotonic time).

    :param again: cancel again with each look, as Airflow does; once only otherwise, so that the cap alone decides.
    """
    from tests.benchmarks import snaplogic

    snaplogic.quiet()
    if who != OURS:
        return asyncio.run(_killed(peers.triggers(who, url, 60.0, runs), lambda: None, url, runs, again))
    owned = snaplogic.handles(snaplogic.connect(url), runs)
    with snaplogic.airflow(owned, AIRFLOW_ANSWERS) as fake:

        def clear() -> None:
            fake.states.update(dict.fromkeys(fake.states))

        return asyncio.run(_killed(snaplogic.triggers(owned, 60.0, runs), clear, url, runs, again))


async def _killed(
    triggers: list[Any], clear: Callable[[], None], url: str, runs: int, again: bool
) -> tuple[int, float]:
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    from airflow_runctl.transport.aio import close_session

    runner: Any = TriggerRunner()  # type: ignore[no-untyped-call]
    for number, trigger in enumerate(triggers):
        runner.triggers[number] = {"name": f"task {number}", "events": 0, "is_watcher": False}
        runner.triggers[number]["task"] = asyncio.create_task(runner.run_trigger(number, trigger))
    while (await asyncio.to_thread(ask, url, "seen"))["told"] < runs:
        still_watching(details["task"] for details in runner.triggers.values())
        await asyncio.sleep(0.1)
    clear()
    cleared, first, stopped = time.monotonic(), True, 0
    while time.monotonic() < cleared + CAP and stopped < runs:
        if first or again:
            runner.to_cancel.extend(runner.triggers)
            await runner.cancel_triggers()
            first = False
        await asyncio.sleep(LOOK_EVERY)
        await runner.cleanup_finished_triggers()
        stopped = (await asyncio.to_thread(ask, url, "seen"))["stopped"]
    await close_session()
    return stopped, cleared


def mass_clear(server: ManyRunsElsewhere, who: str, runs: int = RUNS, again: bool = True) -> tuple[int, float]:
    """Return how many runs were stopped within the cap, and the seconds from the clear to the last stop."""
    server.begin(runs, stop_latency=STOP_CALL)
    stopped, cleared = fresh(kill, who=who, url=server.url, runs=runs, again=again)
    return stopped, max(server.stops(), default=cleared) - cleared


def measure(runs: int = RUNS) -> Measured:
    """Measure us, and Databricks' trigger, which is the one of the peers that has an ``on_kill``."""
    peer = peers.DATABRICKS
    with ManyRunsElsewhere() as server:
        ours, seconds = mass_clear(server, OURS, runs)
    work = f"clear {runs} deferred tasks (a stop call takes {STOP_CALL} s): runs stopped within {CAP:.0f} s"
    budget, held = f"all {runs}", ours == runs
    last = Row("from that clear to the last request to stop", seconds, None, "nobody stopped all", "s")
    if not peers.installed(peer):
        return Measured((Row(work, ours, None, f"{peer}: {peers.NOT_INSTALLED}", "", budget, held, 0), last))
    rows = []
    with peers.vendors() as server:
        for again, how in ((True, "cancelled again each second, as Airflow does"), (False, "cancelled once")):
            theirs, _ = mass_clear(server, peer, runs, again)
            rows.append(Row(work, ours, theirs, f"{peers.named(peer)}, {how}", "", budget, held, 0))
    return Measured((*rows, last))
