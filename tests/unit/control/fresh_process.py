"""Processes that have just begun tell what they still load and build between their first look at a run and its stop.

``python -m tests.unit.control.fresh_process <JSON>``: a list of what each is (trigger or worker) and is told. To load
Airflow, which both have by then, takes seconds; so each is forked from one process that has, and that has nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

CHEAP = frozenset({"linecache", "traceback", "tokenize", "token"})
"""What comes with an error that is logged."""


class Loads:
    """A finder of modules that finds none, and notes who looks for them."""

    def __init__(self) -> None:
        self.first_look = False
        self.running = False
        self.after_the_look: list[str] = []
        self.in_the_loop: list[str] = []
        self.built: list[str] = []

    def find_spec(self, name: str, *_: Any) -> None:
        if self.first_look and name not in CHEAP:
            self.after_the_look.append(name)
        if self.running and threading.current_thread() is threading.main_thread():
            self.in_the_loop.append(name)

    def note(self, owner: Any, name: str) -> None:
        """Note each time that something is built after the first look."""
        build: Callable[..., Any] = getattr(owner, name)

        def noted(*arguments: Any, **more: Any) -> Any:
            if self.first_look:
                self.built.append(name)
            return build(*arguments, **more)

        setattr(owner, name, noted)

    def at_first_look(self) -> None:
        """Note what is loaded and built from now on."""
        from airflow_runctl.control import seal
        from airflow_runctl.hooks.snaplogic import SnapLogicHook
        from airflow_runctl.transport import endpoint

        self.first_look = True
        for owner, name in ((seal, "_fernet_of"), (SnapLogicHook, "build"), (endpoint, "_tls_context")):
            self.note(owner, name)


def trigger(fake: Any, told: dict[str, Any], loads: Loads) -> None:
    from airflow_runctl.triggers.run import ExternalRunTrigger

    class Watching(ExternalRunTrigger):
        def _follow(self, target: Any) -> Any:
            loads.at_first_look()
            return super()._follow(target)

    fake.put_xcom("start", "external_run", told["handle"])
    made = Watching(told["handle"], 0.2, {"max_runtime": time.time() + told["seconds"]})
    made.task_instance = SimpleNamespace(dag_id="harvest", run_id="manual__1", task_id="start", map_index=-1)  # type: ignore[assignment]

    async def run() -> Any:
        from airflow_runctl.transport.aio import close_session

        loads.running = True
        event = await anext(made.run())
        loads.running = loads.first_look = False
        await close_session()
        return event.payload

    print(json.dumps(asyncio.run(run())), file=sys.stderr)


def worker(fake: Any, told: dict[str, Any], loads: Loads) -> None:
    from airflow_runctl.operators.snaplogic import SnapLogicTriggerTaskOperator

    class Watching(SnapLogicTriggerTaskOperator):
        def _watch_here(self, context: Any, attempt: Any) -> Any:
            if told.get("kill"):
                threading.Timer(told["seconds"], os.kill, (os.getpid(), signal.SIGTERM)).start()
            loads.at_first_look()
            try:
                return super()._watch_here(context, attempt)
            finally:
                loads.first_look = False

    with fake.dag():
        operator = Watching(
            task_id="start",
            task_path="projects/sales/early-hang",
            poll_interval=0.2,
            max_runtime=None if told.get("kill") else timedelta(seconds=told["seconds"]),
        )
    fake.run(operator)


def main(stories: list[tuple[str, dict[str, Any]]]) -> None:
    from airflow_runctl.compat import IS_AIRFLOW_2

    if IS_AIRFLOW_2:
        from tests.fakes.airflow_2 import FakeAirflow, in_place
    else:
        from tests.fakes.airflow_3 import FakeAirflow, in_place  # type: ignore[assignment]
    with in_place(FakeAirflow()) as fake:
        for where, told in stories:
            if os.fork() == 0:
                _be(fake, where, told)
            if os.wait()[1] != 0:
                sys.exit(f"{where}, {told}: it failed")


def _be(fake: Any, where: str, told: dict[str, Any]) -> None:
    code = 1
    try:
        loads = Loads()
        fake.connections = told["connections"]
        sys.meta_path.insert(0, loads)  # type: ignore[arg-type]
        {"trigger": trigger, "worker": worker}[where](fake, told, loads)
        found = {"late": loads.after_the_look, "in the loop": loads.in_the_loop, "built": loads.built}
        print(json.dumps(found), flush=True)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="runctl-fresh-") as home:
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        main(json.loads(sys.argv[1]))
