"""What interrupts a task: SIGTERM, the alarm of ``execution_timeout``, and Airflow's refusal of its last word."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow_runctl.compat.names import AirflowFailException
from airflow_runctl.compat.release import AIRFLOW, IS_AIRFLOW_2


@contextmanager
def kill_held_back(on_kill: Callable[[], None]) -> Iterator[None]:
    """Let a kill on a worker call ``on_kill``, and raise nothing before the end.

    That is what Airflow 3 does. The handler of 2.11 raises after it, wherever the process is: it would tear a start
    from its record. In the end its own error is raised there too: with that alone it looks at what a user has made
    of the task meanwhile, which it would overwrite with any other, to the point of a retry.
    """
    if not IS_AIRFLOW_2 or threading.current_thread() is not threading.main_thread():
        yield
        return
    from airflow.exceptions import AirflowTaskTerminated

    killed: list[int] = []

    def kill(signum: int, frame: Any) -> None:
        killed.append(signum)
        on_kill()

    before = signal.signal(signal.SIGTERM, kill)
    error: BaseException | None = None
    try:
        yield
    except AirflowFailException:  # somebody wanted the run to end: no retry
        raise
    except BaseException as raised:
        error = raised
        if not killed:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if killed:
        ended = AirflowTaskTerminated(str(error or "The task was killed."))
        for note in getattr(error, "__notes__", ()):
            ended.add_note(note)
        raise ended from error


@contextmanager
def alarm_held_back() -> Iterator[None]:
    """Take note of Airflow's time-out alarm instead of having it raise in the middle of something."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda signum, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def when_airflow_was_told(call: Callable[[], None]) -> None:
    """Call ``call`` once this process has told Airflow how its task ended, and can still ask Airflow.

    Airflow's listeners are all that a worker runs after that.
    """
    from airflow.listeners import hookimpl
    from airflow.providers.common.compat.sdk import get_listener_manager

    class Once:
        called = False

        @hookimpl
        def before_stopping(self) -> None:
            called, self.called = self.called, True
            if not called:
                call()

    once = Once()
    get_listener_manager().add_listener(once)  # type: ignore[no-untyped-call]
    if (3, 0) <= AIRFLOW < (3, 2):
        from airflow.sdk.execution_time import task_runner

        told: Any = _ToldOfRefusal(task_runner.SUPERVISOR_COMMS, once.before_stopping)
        task_runner.SUPERVISOR_COMMS = told


class _ToldOfRefusal:
    """The channel of a task of Airflow 3.1, whose process ends at once, listeners unheard, if its deferral is refused.

    :param comms: the channel itself.
    :param call: called then.
    """

    def __init__(self, comms: Any, call: Callable[[], None]) -> None:
        self._comms = comms
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comms, name)

    def send(self, msg: Any) -> Any:
        """Send a message, and wait for the answer."""
        try:
            return self._comms.send(msg)
        except Exception:
            if type(msg).__name__ == "DeferTask":
                self._call()
            raise
