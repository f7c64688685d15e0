"""Reports a run that takes longer than expected, and leaves it alone: a log line, a metric, a callback.

The callback is called where the run is watched: in the triggerer for a deferred task. So it travels as the path
of something that can be imported there, with its arguments, as Airflow's own ``AsyncCallback`` does.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pkgutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from airflow_runctl.compat import BaseNotifier
from airflow_runctl.control import audit
from airflow_runctl.control.seal import Handle, words_of
from airflow_runctl.runs import SHOWN, TaskKey

log = logging.getLogger(__name__)

CALLBACK_SECONDS: Final = 30.0
"""How long a worker waits for a callback before it looks after the run again."""

Callback = Mapping[str, Any]
"""``path`` of what to call, and its ``kwargs``; plain JSON."""


@dataclass(frozen=True, slots=True)
class SlowRun:
    """A run that has taken longer than ``warn_after``.

    :param handle: its handle, opened: it shows what is sealed.
    :param where: the task instance that owns it.
    :param try_number: the attempt.
    :param seconds: for how long it has been running.
    """

    handle: Handle
    where: TaskKey
    try_number: int
    seconds: float

    def __str__(self) -> str:
        url = f" {self.handle['url']}" if self.handle.get("url") else ""
        return f"{words_of(self.handle)} has been running for {self.seconds:.0f} s, longer than warn_after{url}"

    def context(self) -> dict[str, Any]:
        """Return what a callback is called with: as a deadline's context, and what belongs to the task besides."""
        where = self.where
        return {
            "dag": None,
            "dag_run": {"dag_id": where.dag_id, "dag_run_id": where.run_id, "run_id": where.run_id},
            "dag_id": where.dag_id,
            "run_id": where.run_id,
            "task_id": where.task_id,
            "map_index": where.map_index,
            "try_number": self.try_number,
            "external_run": {name: self.handle.get(name) for name in SHOWN},
            "seconds": round(self.seconds, 1),
        }

    def count(self) -> None:
        """Count it in Airflow's metrics."""
        audit.slow(str(self.handle.get("vendor")), self.where)


def callback_of(given: Any) -> Callback | None:
    """Return what ``warn_callback`` names, so that another process can call it.

    :param given: a function or notifier class, ``functools.partial`` of one with keyword arguments, its dotted path,
        or an ``AsyncCallback``.
    :raises ValueError: if it cannot be imported, or its arguments are no JSON.
    """
    if given is None:
        return None
    if isinstance(given, partial) and not given.args:
        path, kwargs = _path(given.func), dict(given.keywords)
    elif hasattr(given, "path") and hasattr(given, "kwargs"):
        path, kwargs = str(given.path), dict(given.kwargs or {})
    else:
        path, kwargs = given if isinstance(given, str) else _path(given), {}
    try:
        callable_there = callable(pkgutil.resolve_name(path))
        json.dumps(kwargs)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{path!r} cannot be called from another process: {error}") from None
    if not callable_there:
        raise ValueError(f"{path!r} is nothing that can be called")
    return {"path": path, "kwargs": kwargs}


def _path(call: Any) -> str:
    module, name = getattr(call, "__module__", None), getattr(call, "__qualname__", None)
    if not module or not name or "<" in name or module == "__main__" or module.startswith("unusual_prefix_"):
        raise ValueError(
            f"{call!r} cannot be imported by the triggerer. Give a function or a notifier class of a module, not of "
            "the Dag file; for its arguments functools.partial or AsyncCallback"
        )
    return f"{module}.{name}"


async def acall(callback: Callback, context: dict[str, Any]) -> None:
    """Call a callback without holding up the event loop; what it raises is logged."""
    try:
        call, kwargs = pkgutil.resolve_name(callback["path"]), callback["kwargs"]
        if inspect.isclass(call) and issubclass(call, BaseNotifier):
            await _notify(call(**kwargs), context)
        elif inspect.iscoroutinefunction(call):
            await call(**kwargs, context=context)
        else:
            await asyncio.to_thread(call, **kwargs, context=context)
    except Exception:
        log.exception("The callback %s of a slow run failed", callback["path"])


async def _notify(notifier: Any, context: dict[str, Any]) -> None:
    """Use a notifier's ``async_notify`` if it has one (Airflow 3), else its ``notify``."""
    own, plain = (getattr(of, "async_notify", None) for of in (type(notifier), BaseNotifier))
    if plain is None or own in (None, plain):
        await asyncio.to_thread(notifier, context)
        return
    notifier.context = context
    await notifier


def call(callback: Callback, context: dict[str, Any]) -> None:
    """Call a callback from a worker that watches a run; one that hangs must not keep it from that for long."""
    thread = threading.Thread(target=lambda: asyncio.run(acall(callback, context)), daemon=True)
    thread.start()
    thread.join(CALLBACK_SECONDS)
    if thread.is_alive():
        log.warning("The callback %s of a slow run takes longer than %.0f s", callback["path"], CALLBACK_SECONDS)
