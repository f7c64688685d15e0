"""The life of a run in the sandbox: its state, its history, and the steps that time will bring.

A run follows a plan, a row of steps each some seconds after the one before. A stop, a resume or the control
API replaces the plan. Timers of the event loop drive it, so a run goes on whether anybody looks or not, as at
a vendor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """Enter ``state`` this many seconds after the step before.

    :param after: seconds; 0 is at once, None is never: the run stays where it is.
    """

    after: float | None
    state: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    at: datetime
    event: str


@dataclass(eq=False, slots=True, kw_only=True)
class Run:
    """One run at a vendor.

    :param key: which behaviour it follows.
    :param terminal: the vendor's words for "over"; any other ``state`` counts as open.
    :param since: when it entered its present state.
    """

    vendor: str
    run_id: str
    name: str
    key: str
    terminal: frozenset[str]
    inputs: Any = None
    state: str = ""
    message: str | None = None
    created_at: datetime = field(default_factory=now)
    since: datetime = field(default_factory=now)
    ended_at: datetime | None = None
    stop_requests: int = 0
    resume_requests: int = 0
    history: list[Event] = field(default_factory=list)
    on_end: Callable[[], None] | None = None
    discarded: bool = False
    stopping: bool = False
    _plan: tuple[Step, ...] = ()
    _timer: asyncio.TimerHandle | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> bool:
        return self.state not in self.terminal

    def details(self) -> dict[str, Any]:
        """Return what else the control API shows of this run: the vendor's own ids."""
        return {}

    def note(self, event: str) -> None:
        self.history.append(Event(now(), event))

    def asked_to_stop(self) -> None:
        self.stop_requests += 1
        self.note("stop asked")

    def asked_to_resume(self) -> None:
        self.resume_requests += 1
        self.note("resume asked")

    def enter(self, state: str, message: str | None = None) -> None:
        was_open = self.open
        self.state = state
        self.message = message or self.message
        self.since = now()
        self.ended_at = None if self.open else self.since
        self.note(state)
        self._changed.set()
        self._changed = asyncio.Event()
        if not self.open:
            self.halt()
            if was_open and self.on_end:
                self.on_end()

    def follow(self, *steps: Step) -> None:
        """Give up the plan so far and follow ``steps``; those due at once are taken before this returns."""
        self.stopping = False
        self._take(steps)

    def follow_stop(self, *steps: Step) -> None:
        """Follow ``steps`` to the end that a stop asked for; one already on its way goes on as it was."""
        if not self.stopping:
            self.stopping = True
            self._take(steps)

    def _take(self, steps: tuple[Step, ...]) -> None:
        self.halt()
        while steps and steps[0].after == 0:
            first, *others = steps
            steps = tuple(others)
            self.enter(first.state, first.message)
        self._plan = steps
        if steps and steps[0].after is not None:
            self._timer = asyncio.get_running_loop().call_later(steps[0].after, self._step)

    def _step(self) -> None:
        first, *others = self._plan
        self._take((replace(first, after=0), *others))

    def halt(self) -> tuple[Step, ...]:
        """Stop the clock; return the steps not taken, the first with the time that was left."""
        left = self._plan
        if self._timer:
            self._timer.cancel()
            rest = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            left = (replace(left[0], after=rest), *left[1:])
        self._plan, self._timer = (), None
        return left

    def discard(self) -> None:
        """Forget the run: its clock stops, and whoever waits for it is let go."""
        self.halt()
        self.discarded = True
        self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until ``condition`` holds; False if ``seconds`` pass first or the run is discarded."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self.discarded:
                        return False
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    async def over(self, seconds: float | None = None) -> bool:
        return await self.until(lambda: not self.open, seconds)
