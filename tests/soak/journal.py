"""The journal of a soak: a line for each event as it happens, and the events themselves for the oracle."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.history import Event


class Journal:
    """Prints and keeps what happens. Safe for threads.

    :param file: where the lines go too.
    """

    def __init__(self, file: Path) -> None:
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._file = file
        self._lock = threading.Lock()

    def began(self) -> None:
        """Count seconds from now on."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the soak began."""
        return time.monotonic() - self._began

    def tell(self, text: str) -> None:
        """Print a line."""
        line = f"{datetime.now(UTC):%H:%M:%S} {self.seconds:7.1f}  {text}"
        with self._lock, self._file.open("a") as out:
            print(line, flush=True)
            print(line, file=out)

    def note(self, event: Event) -> None:
        """Keep an event for the oracle."""
        with self._lock:
            self.events.append(event)


def now() -> datetime:
    return datetime.now(UTC)
