"""Watches many runs in one event loop: CPU for each poll, how long the loop is held up, requests, memory."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from tests.benchmarks import peers
from tests.benchmarks.fresh import NotMeasured, fresh
from tests.benchmarks.rows import Measured, Row
from tests.servers.many_runs import ManyRunsElsewhere, ask, run_ids

RUNS: Final = 1_000
INTERVAL: Final = 1.0
"""Seconds between two looks at a run: with 1,000 runs, 1,000 polls a second."""

SECONDS: Final = 8.0
TURNS: Final = 2
"""How often we and the bare client are measured, in turns."""

TICK: Final = 0.02
OURS, BARE = "ours", "bare aiohttp"
WHO: Final = (BARE, peers.DBT_CLOUD, peers.DATABRICKS)


@dataclass(frozen=True, slots=True)
class Watching:
    """What watching cost.

    :param cpu: ms for each time that a run's state was told.
    :param p99: ms for which the event loop was late, of a hundred timers the second latest.
    :param worst: the same of the latest.
    :param requests: in each interval.
    :param requests_per_poll: for each time that a run's state was told.
    :param memory: KiB for each run.
    """

    cpu: float
    p99: float
    worst: float
    requests: float
    requests_per_poll: float
    memory: float

    def or_better(self, other: Watching) -> Watching:
        """Return the lesser figure of each kind: what else the machine does makes none less than it is."""
        mine, theirs = asdict(self), asdict(other)
        return Watching(**{name: min(figure, theirs[name]) for name, figure in mine.items()})


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table, measured of each of those who watch.

    :param work: its words.
    :param name: which figure of a ``Watching``.
    :param unit: of that.
    :param most: the budget; ``None`` for none.
    :param digits: behind the point.
    """

    work: str
    name: str
    unit: str
    most: float | None = None
    digits: int = 0


FIGURES: Final = (
    Figure("CPU for each poll, {runs:,} watched", "cpu", "ms", 0.25, 2),
    Figure("event loop held up at {rate:,.0f} polls a second, worst", "worst", "ms", 100.0),
    Figure("event loop held up at {rate:,.0f} polls a second, p99", "p99", "ms"),
    Figure("HTTP requests in each interval, {runs:,} watched (ours at SnapLogic)", "requests", "", 2.0),
    Figure("memory for each of {runs:,} watched runs", "memory", "KiB"),
)


class Ticks:
    """How late a timer of the event loop is, again and again."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._due = 0.0

    def begin(self) -> None:
        """Begin to count."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + TICK
        self._timer = loop.call_at(self._due, self._tick)

    def end(self) -> None:
        """Count no more."""
        self._timer.cancel()
        self.late.append(max(0.0, asyncio.get_running_loop().time() - self._due))

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.late.append(loop.time() - self._due)
        self._due = loop.time() + TICK
        self._timer = loop.call_at(self._due, self._tick)


def rss() -> int:
    """Return the bytes of memory that this process has."""
    import psutil

    gc.collect()
    return int(psutil.Process().memory_info().rss)


def watched(**arguments: Any) -> dict[str, float]:
    """Return the same as :func:`watching`, in plain JSON."""
    return asdict(watching(**arguments))


def watching(who: str, url: str, runs: int, interval: float, seconds: float) -> Watching:
    """Return what it costs to watch so many runs for so many seconds, once each was looked at."""
    from tests.benchmarks import snaplogic

    snaplogic.quiet()
    if who == BARE:
        return asyncio.run(_bare(url, runs, interval, seconds))
    if who != OURS:
        return asyncio.run(_triggers(partial(peers.triggers, who, url, interval), url, runs, interval, seconds))
    owned = snaplogic.handles(snaplogic.connect(url), runs)
    with snaplogic.airflow(owned):
        return asyncio.run(_triggers(partial(snaplogic.triggers, owned, interval), url, runs, interval, seconds))


async def _triggers(
    making: Callable[[int], list[Any]], url: str, runs: int, interval: float, seconds: float
) -> Watching:
    from airflow_runctl.transport.aio import close_session

    async def first_event(trigger: Any) -> Any:
        return await anext(trigger.run())

    try:
        # What the first one loads is needed once, and in no run's memory.
        (first,) = [asyncio.create_task(first_event(trigger)) for trigger in making(1)]
        await _looked([first], url, 1)
        await _end([first])
        before = rss()
        tasks = [asyncio.create_task(first_event(trigger)) for trigger in making(runs)]
        return await _measured(tasks, before, url, runs, interval, seconds)
    finally:
        await close_session()


async def _bare(url: str, runs: int, interval: float, seconds: float) -> Watching:
    import aiohttp

    from airflow_runctl.vendors.base import basic

    async def watch(session: aiohttp.ClientSession, run_id: str) -> None:
        while True:
            async with session.get(f"{url}/api/1/rest/public/runtime/Acme/{run_id}") as answer:
                told = await answer.json()
            if told["response_map"]["state"] != "Started":
                return
            await asyncio.sleep(interval)

    before = rss()
    async with aiohttp.ClientSession(headers=basic("ops@example.com", "the password")) as session:
        tasks = [asyncio.create_task(watch(session, run_id)) for run_id in run_ids(runs)]
        return await _measured(tasks, before, url, runs, interval, seconds)


async def _measured(
    tasks: list[asyncio.Task[Any]], before: int, url: str, runs: int, interval: float, seconds: float
) -> Watching:
    """Wait until the watching is under way, and see what it costs; whoever watches has no event meanwhile."""
    await _looked(tasks, url, runs)
    await asyncio.sleep(min(interval, 1.0))
    ticks = Ticks()
    seen = await asyncio.to_thread(ask, url, "seen")
    cpu, began = time.process_time(), time.perf_counter()
    ticks.begin()
    await asyncio.sleep(seconds)
    ticks.end()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    now = await asyncio.to_thread(ask, url, "seen")
    memory = rss() - before
    still_watching(tasks)
    await _end(tasks)
    late = sorted(ticks.late)
    told = max(1, now["told"] - seen["told"])
    requests = sum(now.get(what, 0) - seen.get(what, 0) for what in ("look", "list"))
    return Watching(
        cpu=1_000 * cpu / told,
        p99=1_000 * late[int(0.99 * (len(late) - 1))],
        worst=1_000 * late[-1],
        requests=requests / (took / interval),
        requests_per_poll=requests / told,
        memory=memory / 1_024 / runs,
    )


async def _looked(tasks: list[asyncio.Task[Any]], url: str, runs: int) -> None:
    """Return when the vendor has told the state of so many runs from now on."""
    told = (await asyncio.to_thread(ask, url, "seen"))["told"]
    while (await asyncio.to_thread(ask, url, "seen"))["told"] < told + runs:
        still_watching(tasks)
        await asyncio.sleep(0.1)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def still_watching(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Raise if one of those who watch has ended: then nothing was measured."""
    for task in tasks:
        if task.done():
            raise AssertionError(f"a watcher ended: {task.result()}")


def watch(
    server: ManyRunsElsewhere, who: str, runs: int = RUNS, interval: float = INTERVAL, seconds: float = SECONDS
) -> Watching:
    """Return what it costs one of those who watch, against a server that has as many runs."""
    server.begin(runs)
    return Watching(**fresh(watched, who=who, url=server.url, runs=runs, interval=interval, seconds=seconds))


def measure(runs: int = RUNS, seconds: float = SECONDS) -> Measured:
    """Measure us, a bare client and the peers, one after the other."""
    found: dict[str, Watching] = {}
    missing: dict[str, str] = {}
    with ManyRunsElsewhere() as server:
        for who in (OURS, BARE) * TURNS:
            again = watch(server, who, runs, INTERVAL, seconds)
            found[who] = again.or_better(found.get(who, again))
    with peers.vendors() as server:
        for who in peers.PACKAGES:
            if not peers.installed(who):
                missing[who] = peers.NOT_INSTALLED
                continue
            try:
                found[who] = watch(server, who, runs, INTERVAL, seconds)
            except NotMeasured as error:
                missing[who] = str(error)
    return Measured(tuple(_row(figure, who, found, missing, runs) for figure in FIGURES for who in WHO))


def _row(figure: Figure, who: str, found: dict[str, Watching], missing: dict[str, str], runs: int) -> Row:
    ours: float = getattr(found[OURS], figure.name)
    other = getattr(found[who], figure.name) if who in found else None
    other_is = peers.named(who) if who in peers.PACKAGES else who
    return Row(
        figure.work.format(runs=runs, rate=runs / INTERVAL),
        ours,
        other,
        other_is if who in found else f"{other_is}: {missing[who]}",
        figure.unit,
        "" if figure.most is None else f"{figure.most:g} {figure.unit}".strip(),
        None if figure.most is None else ours <= figure.most,
        figure.digits,
    )
