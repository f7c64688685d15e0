"""What the four stand-ins share: runs, behaviours, settings, the rate limit, the order of the checks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from airflow_runctl.sandbox.changes import changed
from airflow_runctl.sandbox.runs import Run, Step
from airflow_runctl.sandbox.wire import Answer, Call, Refused, Route, find

WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the runs of one thing (task, automation, pipeline, runtime, agent) behave.

    :param run_seconds: from the start to the end; None is a run that hangs for ever.
    :param end: the vendor's word for the state it ends in.
    :param stop_seconds: from an accepted stop to its effect; None is a stop that never lands.
    :param message: the vendor's reason, for a run that ends badly.
    :param queue_seconds: time spent queued before the start, where the vendor has a queue; None is for ever.
    :param result: what a successful run gives back.
    """

    run_seconds: float | None = 2.0
    end: str = ""
    stop_seconds: float | None = 0.2
    message: str | None = None
    queue_seconds: float | None = 0.0
    result: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """:param rate_limit_per_minute: calls accepted in any sixty seconds; None is no limit."""

    rate_limit_per_minute: int | None = None


class Meter:
    """Counts accepted calls of the last sixty seconds.

    The sandbox has one account per vendor, so there is one meter per vendor: calls without a credential of
    their own (axiom.ai's stop) count in it too. Refused calls do not count. [both unknown at the vendors]
    """

    def __init__(self) -> None:
        self._calls: deque[float] = deque()

    def admit(self, limit: int | None) -> float:
        """Count a call and return 0; beyond the limit return the seconds until there is room."""
        if limit is None:
            return 0
        moment = time.monotonic()
        while self._calls and self._calls[0] <= moment - WINDOW_SECONDS:
            self._calls.popleft()
        if len(self._calls) >= limit:
            return self._calls[0] + WINDOW_SECONDS - moment if self._calls else WINDOW_SECONDS
        self._calls.append(moment)
        return 0


BehaviourT = TypeVar("BehaviourT", bound=Behaviour)
SettingsT = TypeVar("SettingsT", bound=Settings)
RunT = TypeVar("RunT", bound=Run)


class Part(Protocol):
    """A part of a vendor that keeps something of its own."""

    def reset(self) -> None:
        """Forget it."""


class Vendor(ABC, Generic[BehaviourT, SettingsT, RunT]):
    """One vendor. ``mount`` is the path under which its documented endpoints stand."""

    name: ClassVar[str]
    mount: ClassVar[tuple[str, ...]]
    default: BehaviourT
    default_settings: SettingsT
    routes: tuple[Route, ...]
    parts: tuple[Part, ...] = ()
    """What forgets together with the vendor."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.runs: dict[str, RunT] = {}
        self.reset()

    def reset(self) -> None:
        """Forget every run and every change."""
        for run in self.runs.values():
            run.discard()
        self.runs = {}
        self.behaviours = self.catalogue()
        self.settings = self.default_settings
        self.meter = Meter()
        for part in self.parts:
            part.reset()

    @abstractmethod
    def catalogue(self) -> dict[str, BehaviourT]:
        """Return the things that exist without any configuration."""

    @abstractmethod
    def check_credential(self, call: Call, operation: str) -> None:
        """Raise :class:`Refused` if the call does not carry the right credential."""

    @abstractmethod
    def refusal(self, call: Call, refused: Refused) -> Answer:
        """Return a refusal in the vendor's own shape."""

    def key(self, name: str) -> str:
        """Return the key in ``behaviours`` for the name used in the control API."""
        return name

    def behave(self, name: str, changes: object) -> BehaviourT:
        """Change how the runs of ``name`` behave; a name not yet known comes into being."""
        key = self.key(name)
        self.behaviours[key] = changed(self.behaviours.get(key, self.default), changes)
        return self.behaviours[key]

    def behaviour_of(self, run: RunT) -> BehaviourT:
        """Return the behaviour in force now, not the one at the run's start: a test may change it since."""
        return self.behaviours.get(run.key, self.default)

    def force(self, run: RunT, state: str, message: str | None) -> None:
        """Put ``run`` into ``state``, whatever its plan was; it stays there until something else happens."""
        run.follow(Step(0, state, message))

    def add(self, run: RunT) -> RunT:
        self.runs[run.run_id] = run
        return run

    def find(self, call: Call) -> Route | None:
        return find(self.routes, call)

    async def answer(self, route: Route | None, call: Call) -> Answer:
        """Check what every call is checked for, then do what it asks."""
        try:
            if route is None:
                # [inferred] No vendor documents its answer to a path or method that it does not have.
                raise Refused(404, f"no such endpoint: {call.method} /{'/'.join(call.segments)}")
            self.check_credential(call, route.operation)
            wait = self.meter.admit(self.settings.rate_limit_per_minute)
            if wait:
                raise Refused(429, "Rate limit exceeded", retry_after=wait)
            return await route.handler(call)
        except Refused as refused:
            return self.refusal(call, refused)
