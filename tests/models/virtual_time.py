"""Virtual time: processes that take turns, and a clock that jumps from one event to the next.

A process is a handful of strands (its main thread, further threads), each a greenlet. A strand runs until it waits;
then whoever's time comes first goes on. Nothing runs at the same time, nothing sleeps for real, and the same choices
give the same story, so a story that went wrong can be shrunk. A signal handler runs where its process waits, as
Python's do; a process that was killed reaches the world no more.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import heapq
import importlib
import itertools
import pkgutil
import sys
import time as real_time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, tzinfo
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tenacity
from greenlet import greenlet

BEGIN = 1_800_000_000.0
"""Unix time at which every story begins."""

MOST_HANDLERS = 3
"""How deep signal handlers may interrupt one another."""

acting: ContextVar[str] = ContextVar("acting", default="?")
"""What is at work: ``worker``, ``trigger``, ``deadline``, ``callback`` ...; tasks that it creates inherit it."""


class Gone(BaseException):
    """The process was killed: raised wherever it would have touched the world."""


class Process:
    """A process of Airflow's.

    :param name: words for messages.
    :param role: ``worker``, ``triggerer`` or ``dag processor``: what its supervisor understands.
    """

    def __init__(self, name: str, role: str) -> None:
        self.name = name
        self.role = role
        self.alive = True
        self.signals: deque[Callable[[], None]] = deque()
        self.strands: list[Strand] = []
        self.about: Any = None
        """What the process works at; whoever made it knows."""
        self.has_begun = False
        """Whether our own code has come to work in it."""
        self.has_recorded = False
        """Whether our own code has come to leave a record that a callback can read."""

    def __repr__(self) -> str:
        return f"<{self.name}{'' if self.alive else ', dead'}>"


class Strand:
    """A thread of a process.

    :param process: its process.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.greenlet: greenlet = greenlet(lambda: None)
        self.ticket = 0
        self.handlers = 0
        self.poked = False

    @property
    def is_main(self) -> bool:
        return self.process.strands[0] is self

    def must_live(self) -> None:
        if not self.process.alive:
            raise Gone


class World:
    """The clock, and whoever waits for a time to come."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.current: Strand | None = None
        self.points = 0
        self.ambushes: dict[str, Callable[[], None]] = {}
        self.trail: list[str] = []
        """What happened, for whoever has to understand a story that went wrong."""

        self.wrongs: list[str] = []
        self.exchange: Callable[..., Generator[float, None, Any]] | None = None
        """The network: carries a request to a vendor, yielding the seconds that pass."""
        self.say: Callable[[str], None] = lambda text: None
        """Hears the errors in logs."""

        self._agenda: list[tuple[float, int, Strand | Callable[[], None]]] = []
        self._strands: list[Strand] = []
        self._tickets = itertools.count(1)
        self._outside = greenlet.getcurrent()

    # -- who goes on when --------------------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._agenda, (self.now + delay, next(self._tickets), action))

    def spawn(self, process: Process, run: Callable[[], object]) -> Strand:
        """Begin a strand. What it raises is a wrong, unless its process was killed."""
        strand = Strand(process)
        process.strands.append(strand)

        def body() -> None:
            try:
                run()
            except Gone:
                pass
            except BaseException as error:
                self.wrongs.append(f"{process.name} died of {type(error).__name__}: {error}")
            if strand.is_main:
                process.alive = False  # daemon threads go with their process

        strand.greenlet = greenlet(body, parent=self._outside)
        self._strands.append(strand)  # kept: a greenlet that is thrown away would run once more
        self._queue(strand, self.now)
        return strand

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        self.tell(f"SIGKILL to {process.name}")
        process.alive = False

    def interrupt(self, process: Process, handler: Callable[[], None]) -> None:
        """Run ``handler`` in the main thread of a process, in the middle of what it waits for."""
        self.tell(f"SIGTERM to {process.name}")
        process.signals.append(handler)
        self._queue(process.strands[0], self.now)

    def poke(self, strand: Strand) -> None:
        """End the wait of an event loop."""
        strand.poked = True
        self._queue(strand, self.now)

    def step(self) -> bool:
        """Let whoever is next go on to its next wait; False if nobody waits for anything."""
        while self._agenda:
            at, ticket, who = heapq.heappop(self._agenda)
            if isinstance(who, Strand):
                if who.ticket != ticket:
                    continue
                self.now = max(self.now, at)
                self.current = who
                who.greenlet.switch()
                self.current = None
            else:
                self.now = max(self.now, at)
                who()
            return True
        return False

    def end(self) -> None:
        """Let everybody die, in order, here and now."""
        for strand in self._strands:
            strand.process.alive = False
            if strand.greenlet:
                self.current = strand
                strand.greenlet.throw(Gone)
        self.current = None

    def next_at(self) -> float:
        """Return when the next step is due."""
        while self._agenda:
            at, ticket, who = self._agenda[0]
            if not isinstance(who, Strand) or who.ticket == ticket:
                return at
            heapq.heappop(self._agenda)
        return float("inf")

    # -- what strands do ---------------------------------------------------------------------------------

    def wait(self, seconds: float, *, wakeable: bool = False) -> None:
        """Wait in the current strand, as a sleep does: signal handlers run meanwhile.

        :param wakeable: return early when poked.
        """
        strand = self.current
        assert strand is not None, "only strands wait"
        until = self.now + seconds
        while True:
            strand.must_live()
            self._park(strand, until)
            strand.must_live()
            self._handle_signals(strand)
            if self.now >= until or (wakeable and strand.poked):
                strand.poked = False
                return

    def pass_point(self, point: str) -> None:
        """Say where the current strand is: an ambush may lie there."""
        assert self.current is not None, "only strands pass points"
        self.current.must_live()
        self.points += 1
        self.tell(f"{self.process.name}: {point}")
        if ambush := self.ambushes.pop(point, None):
            self.at(0.0, ambush)

    def tell(self, what: str) -> None:
        """Add a line to the trail."""
        self.trail.append(f"{self.now - BEGIN:9.2f} {what}")

    @property
    def process(self) -> Process:
        """The process that runs now."""
        if self.current is None:
            raise Gone
        return self.current.process

    @property
    def in_handler(self) -> bool:
        """Whether a signal handler runs now."""
        return self.current is not None and self.current.handlers > 0

    def _handle_signals(self, strand: Strand) -> None:
        while strand.is_main and strand.process.signals and strand.handlers < MOST_HANDLERS:
            handler = strand.process.signals.popleft()
            strand.handlers += 1
            try:
                handler()
            finally:
                strand.handlers -= 1

    def _queue(self, strand: Strand, at: float) -> None:
        strand.ticket = next(self._tickets)
        heapq.heappush(self._agenda, (at, strand.ticket, strand))

    def _park(self, strand: Strand, until: float) -> None:
        """Hand over; what asyncio keeps per thread is put away meanwhile."""
        loop, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        if loop is not None:
            asyncio._set_running_loop(None)
        if until < float("inf"):
            self._queue(strand, until)
        else:
            strand.ticket = next(self._tickets)
        self._outside.switch()
        self.current = strand
        if loop is not None:
            asyncio._set_running_loop(loop)
            sys.set_asyncgen_hooks(*hooks)


class Loop(asyncio.BaseEventLoop):
    """An event loop on virtual time, in the strand that runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.strand = world().current
        self._clock_resolution = 1e-4  # what a float of today's Unix time can tell apart, and more
        self._selector = SimpleNamespace(select=self._select)

    def time(self) -> float:
        return world().now

    def wake(self) -> None:
        """Look at what was put in from outside the loop."""
        assert self.strand is not None
        world().poke(self.strand)

    def begin(self, doing: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Create a task from outside the loop."""
        task: asyncio.Task[Any] = self.create_task(doing)
        self.wake()
        return task

    def run_in_executor(self, executor: Any, call: Callable[..., Any], *arguments: Any) -> Any:  # type: ignore[override]
        """Run a blocking call in a strand of its own; a real thread would not wait for its turn."""
        future = self.create_future()

        def run() -> None:
            try:
                done = functools.partial(future.set_result, call(*arguments))
            except Exception as error:
                done = functools.partial(future.set_exception, error)
            if self.is_closed():  # its process was killed; asyncio's own drops what comes then, too
                return
            self.call_soon(lambda: future.cancelled() or done())
            self.wake()

        world().spawn(world().process, functools.partial(contextvars.copy_context().run, run))
        return future

    def _select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            world().wait(float("inf") if timeout is None else timeout, wakeable=True)
        return []

    def _process_events(self, event_list: list[Any]) -> None: ...
    def _write_to_self(self) -> None: ...


class Thread:
    """``threading.Thread``: a further strand of the process that starts it."""

    def __init__(self, target: Callable[[], None], name: str = "", daemon: bool = True) -> None:
        self._target = target
        self._is_over = False
        self._waiting: Strand | None = None

    def start(self) -> None:
        world().spawn(world().process, self._run)

    def is_alive(self) -> bool:
        """Tell whether the strand goes on."""
        return not self._is_over

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the strand."""
        until = float("inf") if timeout is None else world().now + timeout
        self._waiting = world().current
        while not self._is_over and world().now < until:
            world().wait(until - world().now, wakeable=True)

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._is_over = True
            if self._waiting is not None:
                world().poke(self._waiting)


class VirtualDatetime(datetime):
    """``datetime``, by the virtual clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(world().now, tz)


def sleep(seconds: float) -> None:
    """``time.sleep``."""
    world().wait(seconds)


TIME = SimpleNamespace(time=lambda: world().now, monotonic=lambda: world().now, sleep=sleep)
"""The module ``time``."""

_worlds: list[World] = []


def world() -> World:
    """Return the world of the story that is being told."""
    return _worlds[-1]


@contextmanager
def new_world() -> Iterator[World]:
    """Begin a story; at its end whoever is left in it dies."""
    made = World()
    _worlds.append(made)
    try:
        yield made
    finally:
        made.end()
        _worlds.remove(made)


@contextmanager
def virtual_time(*packages: ModuleType) -> Iterator[None]:
    """Let all modules of ``packages``, asyncio's new loops and tenacity live on virtual time."""
    names = [found.name for one in packages for found in pkgutil.walk_packages(one.__path__, one.__name__ + ".")]
    with pytest.MonkeyPatch.context() as patch:
        for module in (tenacity, *map(importlib.import_module, names)):
            if getattr(module, "time", None) is real_time:
                patch.setattr(module, "time", TIME)
            if getattr(module, "datetime", None) is datetime:
                patch.setattr(module, "datetime", VirtualDatetime)
        patch.setattr(asyncio.events, "new_event_loop", Loop)
        yield
