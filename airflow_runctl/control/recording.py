"""Records a stop, and lets no record keep a stop from going out: in the order of events, and in little time.

The intent of a stop is recorded before anything is asked of the vendor, so that the task, when it finds its run
ended, knows that no retry may start it again. But a record needs an Airflow that answers, and a stop does not: after
``INTENT_SECONDS`` the request to stop goes first, and the record follows when Airflow answers. Nothing that was sent
to Airflow is ever taken back: its answer would be taken for that to the next question.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from airflow_runctl.exceptions import RunctlError

log = logging.getLogger(__name__)

INTENT_SECONDS: Final = 0.4
"""For how long a stop waits for the record of its intent."""


class Recording:
    """The records of one stop, in an event loop: written one after the other."""

    def __init__(self) -> None:
        self._last: asyncio.Task[None] | None = None

    async def intend(self, writing: Coroutine[Any, Any, None]) -> None:
        """Record an intent; return after ``INTENT_SECONDS`` though it be not written yet."""
        self._last = asyncio.create_task(_after(self._last, quietly("record the intent of a stop", writing)))
        await asyncio.wait({self._last}, timeout=INTENT_SECONDS)

    async def settle(self) -> None:
        """Return when all is written; what is recorded from now on comes after it."""
        if self._last is not None:
            await self._last


async def _after(before: asyncio.Task[None] | None, writing: Coroutine[Any, Any, None]) -> None:
    if before is not None:
        await before
    await writing


async def quietly(what: str, doing: Coroutine[Any, Any, Any]) -> None:
    """Await ``doing``; a record that cannot be written must not keep a run alive."""
    try:
        await doing
    except RunctlError as error:
        log.warning("Could not %s: %s", what, error)
    except Exception:
        log.warning("Could not %s", what, exc_info=True)


class BlockingRecording:
    """The same where nothing else goes on meanwhile: in a thread of its own, at most one at a time.

    Whoever talks to Airflow next has to call :meth:`wait` first: Airflow's channel knows no two at once.
    """

    def __init__(self) -> None:
        self._writing: threading.Thread | None = None

    def intend(self, write: Callable[[], None]) -> None:
        """Record something, an intent above all; return after ``INTENT_SECONDS`` though it be not written yet.

        :param write: writes it; raises nothing.
        """
        self._writing = self._begin(write)
        self._writing.join(INTENT_SECONDS)

    def later(self, write: Callable[[], None]) -> None:
        """Record something once all is written that came before, and wait for none of it.

        :param write: writes it; raises nothing.
        """
        self._writing = self._begin(write)

    def _begin(self, write: Callable[[], None]) -> threading.Thread:
        before = self._writing

        def write_in_turn() -> None:
            if before is not None:
                before.join()
            write()

        writing = threading.Thread(target=write_in_turn, name="runctl-record", daemon=True)
        writing.start()
        return writing

    def wait(self, seconds: float | None = None) -> bool:
        """Return True when nothing is being written any more; False if that takes longer than so many seconds."""
        if self._writing is not None:
            self._writing.join(seconds)
            if self._writing.is_alive():
                return False
            self._writing = None
        return True
