"""Processes that can be killed alone and never outlive their owner: each leads a session of its own.

A session, not a process group: Airflow moves every task into a process group of its own, but nothing in
Airflow leaves its session, so ``getsid`` finds all descendants, orphans included. Leaders are not reaped
before the end, so that the kernel cannot give their number, which is the session's, to anybody else.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from demo import guard

TERM_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One line of the process table: which component, which process, and how it calls itself."""

    component: str
    pid: int
    parent: int
    title: str


class Sessions:
    """The named processes that were started here, each with all of its descendants.

    :param home: their working directory, which the guard removes in the end; logs go to ``home/components``
    :param guarded: what else the guard is told, in its environment
    """

    def __init__(self, home: Path, guarded: Mapping[str, str]) -> None:
        self._home = home
        self.logs = home / "components"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._leaders: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__, str(home)],
            env={**os.environ, **guarded},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start ``command`` in a session of its own; its output is appended to the log of this name."""
        if name in self.running():
            raise ValueError(f"{name} is running already; kill it before it is started again")
        guard_input = self._guard.stdin
        assert guard_input is not None
        with self.log(name).open("ab") as log:
            leader = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The new process itself tells the guard: whoever starts it may be killed before it could.
                preexec_fn=lambda: os.write(guard_input.fileno(), b"%d\n" % os.getpid()),
            )
        self._leaders[name] = leader
        self._started[leader.pid] = (name, leader)

    def log(self, name: str) -> Path:
        """Return where the output of the process of this name goes."""
        return self.logs / f"{name}.log"

    def exit_code(self, name: str) -> int | None:
        """Return how the leader of this name ended (negative: by a signal), None while it runs."""
        return _exit_code(self.pid(name), os.WNOHANG)

    def wait(self, name: str) -> int:
        """Wait until the leader of this name ends; return its exit code."""
        return _exit_code(self.pid(name), 0) or 0

    def running(self) -> list[str]:
        """Return the names whose leader runs."""
        return [name for name in self._leaders if self.exit_code(name) is None]

    def pid(self, name: str) -> int:
        """Return the process id of the leader of this name."""
        return self._leaders[name].pid

    def table(self) -> list[ProcessRow]:
        """Return every living process that was started here or descends from one that was."""
        rows = []
        for session, process in guard.members(self._started):
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(process.cmdline()).strip()
                rows.append(ProcessRow(self._started[session][0], process.pid, process.ppid(), title))
        return rows

    def kill(self, name: str, number: signal.Signals, *, children: bool) -> None:
        """Send a signal to the leader of this name, with ``children`` to everything in its session.

        After SIGKILL, return when it has worked.
        """
        leader = self.pid(name)
        if children and number == signal.SIGKILL:
            guard.kill([leader])
        targets = [process.pid for _, process in guard.members([leader])] if children else [leader]
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:
            self.wait(name)

    def close(self) -> None:
        """End everything: SIGTERM to the leaders, SIGKILL to whatever is left after a few seconds."""
        for name in self.running():
            for number in (signal.SIGCONT, signal.SIGTERM):
                self.kill(name, number, children=False)
        deadline = time.monotonic() + TERM_SECONDS
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        guard.kill(self._started)
        for _, leader in self._started.values():
            leader.wait()
        # Its input closed, the guard looks once more, removes the home and ends.
        self._guard.communicate()


def _exit_code(pid: int, flags: int) -> int | None:
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | flags)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
