"""Carries out the plan of a soak: kills, stalls, restarts of the database, vendors that go away."""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tests.soak.deployment import Deployment
from tests.soak.history import Event
from tests.soak.journal import Journal, now
from tests.soak.people import People
from tests.soak.plan import Fault, Plan

TICK_SECONDS: Final = 0.2
DATABASE_AWAY_SECONDS: Final = 4.0


class Chaos:
    """Does what the plan says, when it says so; a busy machine may be late.

    Whatever lasts is ended with the soak at the latest.
    """

    def __init__(self, deployment: Deployment, people: People, journal: Journal) -> None:
        self._deployment = deployment
        self._people = people
        self._journal = journal
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._ends: list[Callable[[], None]] = []
        self._acts: dict[str, Callable[[Fault], None]] = {
            "kill-task": self._kill_task,
            "kill": self._kill,
            "stall": self._stall,
            "restart-database": self._restart_database,
            "vendor-away": self._vendor_away,
        }

    def run(self, plan: Plan) -> None:
        """Carry out the whole plan."""
        for run in plan.dag_runs:
            self._at(run.at, lambda run=run: self._people.begin(run))  # type: ignore[misc]
        for fault in plan.faults:
            self._at(fault.at, lambda fault=fault: self._act(fault))  # type: ignore[misc]
        while self._journal.seconds < plan.minutes * 60:
            while self._agenda and self._agenda[0][0] <= self._journal.seconds:
                heapq.heappop(self._agenda)[2]()
            self.keep_up()
            time.sleep(TICK_SECONDS)
        for end in list(self._ends):
            end()

    def keep_up(self) -> None:
        """Start again what has ended."""
        for component in self._deployment.keep_up():
            code = self._deployment.airflow.sessions.exit_code(component)
            self._journal.note(Event(now(), "ended-by-itself", component))
            self._journal.tell(f"{component} has ended by itself ({code})")

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (seconds, next(self._order), act))

    def _act(self, fault: Fault) -> None:
        self._acts.get(fault.kind, self._people.act)(fault)

    def _lasting(self, fault: Fault, event: Event, end: Callable[[], None]) -> None:
        """End it when its time is over, once."""

        def over() -> None:
            if over in self._ends:
                self._ends.remove(over)
                end()
                self._journal.note(replace(event, until=now()))
                self._journal.tell(f"{fault.kind} {fault.target} is over")

        self._ends.append(over)
        self._at(self._journal.seconds + fault.seconds, over)

    def _kill_task(self, fault: Fault) -> None:
        tasks = self._deployment.running_tasks()
        if not tasks:
            self._journal.tell("kill-task: none runs")
            return
        task, pid = tasks[int(fault.pick * len(tasks))]
        with suppress(ProcessLookupError):
            event = Event(now(), fault.kind, attempts=(task,), pids=(pid,))
            os.kill(pid, signal.SIGKILL)
            self._journal.note(event)
        self._journal.tell(f"kill-task {task}")

    def _kill(self, fault: Fault) -> None:
        if fault.target not in self._deployment.airflow.sessions.running():
            self._journal.tell(f"kill {fault.target}: it does not run")
            return
        began = now()
        tasks, pids = self._deployment.kill(fault.target)
        self._journal.note(Event(began, fault.kind, fault.target, attempts=tuple(tasks), pids=tuple(pids)))
        self._journal.tell(f"kill {fault.target}: {len(pids)} processes, {len(tasks)} of them tasks")

    def _stall(self, fault: Fault) -> None:
        event = Event(now(), fault.kind, fault.target)
        self._journal.tell(f"stall {fault.target}")
        self._deployment.stall(fault.target, signal.SIGSTOP)
        self._lasting(fault, event, lambda: self._deployment.stall(fault.target, signal.SIGCONT))

    def _restart_database(self, fault: Fault) -> None:
        event = Event(now(), fault.kind, fault.target)
        self._journal.tell("restart-database: PostgreSQL ends")
        self._deployment.services.stop_postgresql()
        self._lasting(replace(fault, seconds=DATABASE_AWAY_SECONDS), event, self._deployment.services.start_postgresql)

    def _vendor_away(self, fault: Fault) -> None:
        event = Event(now(), fault.kind, fault.target)
        sandbox = self._deployment.sandbox
        # Requests that hang are cut in the end, else they would outlast the time that the vendor is away.
        seconds = {"seconds": 15.0} if fault.how == "hang" else {}
        number = sandbox.fault(fault.target, "any", fault.how, **seconds)
        self._journal.tell(f"vendor-away {fault.target} ({fault.how})")
        self._lasting(fault, event, lambda: sandbox.clear_faults(number))
