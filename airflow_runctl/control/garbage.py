"""Lets Python's garbage collector wait while many stops are under way.

Whenever there are a quarter more objects than before, it looks through all that the process has: of 10,000 stops that
took half of the processor's time, and held up the event loop for 0.3 s at a time. What it would free waits until most
of the stops are over, half a minute at the most.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")

MANY: Final = 250
"""Stops that are under way at once, from which on it waits; and tasks that open a handle to stop its run."""

LONGEST: Final = 30.0
"""Seconds after which it goes on, however many there are still."""

_lock: Final = threading.Lock()
_under_way = 0
_going_on: threading.Timer | None = None
"""Lets it go on; ``None`` while it does not wait."""


@contextmanager
def collected_later() -> Iterator[None]:
    """Count what is done in it as a stop that is under way."""
    _begin()
    try:
        yield
    finally:
        _end()


def collected_after(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """Count a task in the same way, from before its first step on: ten thousand are made before any of them begins."""
    _begin()
    task.add_done_callback(_end)
    return task


def _begin() -> None:
    global _under_way, _going_on
    with _lock:
        _under_way += 1
        # Somebody else may have turned it off, and is to find it so.
        if _under_way == MANY and gc.isenabled():
            gc.disable()
            _going_on = threading.Timer(LONGEST, _go_on)
            _going_on.daemon = True
            _going_on.start()


def _end(_: Any = None) -> None:
    global _under_way
    with _lock:
        _under_way -= 1
        is_most_over = _under_way < MANY // 2
    if is_most_over and _going_on is not None:
        _go_on()


def _go_on() -> None:
    global _going_on
    with _lock:
        if _going_on is not None:
            _going_on.cancel()
            _going_on = None
            gc.enable()
