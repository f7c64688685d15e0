"""Start a sandbox in a process of its own and use its control API; standard library only."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

START_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0
CALL_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 60.0
FIRST_POLL_SECONDS: Final = 0.01
LONGEST_POLL_SECONDS: Final = 0.1
LISTENING: Final = "sandbox listening on "

PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]

Awaited = TypeVar("Awaited")


def eventually(condition: Callable[[], Awaited | None], seconds: float = WAIT_SECONDS) -> Awaited:
    """Ask again and again, ever less often, until ``condition`` returns something true; return that.

    :raises TimeoutError: if it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_POLL_SECONDS
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise TimeoutError(f"nothing after {seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_POLL_SECONDS)


class Sandbox:
    """A running sandbox. ``with Sandbox.spawn() as sandbox: ...``; at the latest the end of this process ends
    it.

    :param process: the child, started in a process group of its own.
    :param url: where it listens, prefix included.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.url = url
        self.pid = process.pid
        self._finish = weakref.finalize(self, _end, process)
        # A proxy from the environment must not come between a test and its sandbox.
        self._opener = build_opener(ProxyHandler({}))
        self.connections: dict[str, str] = self._call("GET", "connections")
        self.seed: str = json.loads(self.connections["AIRFLOW_CONN_AXIOM_DEFAULT"])["password"].rpartition("-")[2]

    @classmethod
    def spawn(cls, seed: str | None = None, prefix: str = "") -> Sandbox:
        """Start a sandbox on a free port and wait until it listens.

        :param seed: letters and digits that every secret contains; random by default.
        :param prefix: path before everything else, as behind an API gateway.
        :raises RuntimeError: if it does not listen in time.
        """
        command = [
            sys.executable,
            "-m",
            "airflow_runctl.sandbox",
            "--prefix",
            prefix,
            "--parent",
            str(os.getpid()),
        ]
        if seed is not None:
            command += ["--seed", seed]
        path = os.pathsep.join(filter(None, (str(PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        try:
            return cls(process, _listening_url(process))
        except BaseException:
            _end(process)
            raise

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; a second call does nothing."""
        self._finish()

    # Runs

    def runs(self, **filters: str | int) -> list[dict[str, Any]]:
        """Return every run, oldest first.

        :param filters: ``vendor``, ``name``, ``state``, ``run_id``, ``open`` (1 or 0).
        """
        runs: list[dict[str, Any]] = self._call("GET", f"runs?{urlencode(filters)}")["runs"]
        return runs

    def open_runs(self, **filters: str | int) -> list[dict[str, Any]]:
        return self.runs(open=1, **filters)

    def set_run(self, run_id: str, state: str, message: str | None = None) -> dict[str, Any]:
        """Put a run into a state, any word of the vendor or none of them; return the run."""
        return self._object("POST", f"runs/{quote(run_id, safe='')}", {"state": state, "message": message})

    def wait_for_state(self, run_id: str, *states: str, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """Wait until a run is in one of ``states``; return the run.

        :raises TimeoutError: if it is in none of them after ``seconds``.
        """
        return eventually(
            lambda: next((run for run in self.runs(run_id=run_id) if run["state"] in states), None), seconds
        )

    # Behaviours, settings and faults

    def behave(self, vendor: str, name: str, **changes: Any) -> dict[str, Any]:
        """Change how runs of a thing behave; return all of its behaviour."""
        return self._object("PUT", f"behaviours/{vendor}/{quote(name, safe='')}", changes)

    def settings(self, vendor: str, **changes: Any) -> dict[str, Any]:
        """Change switches of a whole vendor; return all of them."""
        return self._object("PUT", f"settings/{vendor}", changes)

    def fault(self, vendor: str, operation: str, kind: str, **details: Any) -> int:
        """Make trouble; return the fault's id."""
        body = {"vendor": vendor, "operation": operation, "kind": kind, **details}
        return int(self._call("POST", "faults", body)["id"])

    def faults(self) -> list[dict[str, Any]]:
        faults: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return faults

    def clear_faults(self, fault: int | None = None) -> None:
        """Remove one fault, or all."""
        self._call("DELETE", "faults" if fault is None else f"faults/{fault}")

    # What the vendors saw

    def requests(self, **filters: str) -> list[dict[str, Any]]:
        """Return every request that the vendors received, oldest first.

        :param filters: ``vendor``, ``operation``, ``method``.
        """
        requests: list[dict[str, Any]] = self._call("GET", f"requests?{urlencode(filters)}")["requests"]
        return requests

    def clear_requests(self) -> None:
        self._call("DELETE", "requests")

    def reset(self) -> None:
        """End everything and forget it: runs, faults, behaviours, settings, requests."""
        self._call("POST", "reset")

    def _object(self, method: str, path: str, body: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._call(method, path, body)
        return answer

    def _call(self, method: str, path: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/_sandbox/{path}", content, method=method)  # noqa: S310
        with self._opener.open(request, timeout=CALL_SECONDS) as answer:
            return json.load(answer)


def _listening_url(process: subprocess.Popen[bytes]) -> str:
    if process.stdout is None:
        raise ValueError("the process must have been started with a pipe for its output")
    deadline = time.monotonic() + START_SECONDS
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in seen:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise RuntimeError(f"the sandbox did not listen within {START_SECONDS:.0f} s")
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                raise RuntimeError(f"the sandbox ended with code {process.wait()} before it listened; see stderr")
            seen += more
    return seen.decode().partition("\n")[0].removeprefix(LISTENING)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout:
        process.stdout.close()
