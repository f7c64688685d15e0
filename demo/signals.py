"""What a terminal and a supervisor send: turned into a clean end, and held off while the end is under way."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


@contextmanager
def polite_termination() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that whoever is in a ``with`` cleans up."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _signals_handled((signal.SIGTERM, signal.SIGHUP), leave, only=signal.SIG_DFL):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and the like: a cleanup that is interrupted leaves processes behind."""
    with _signals_handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
        yield


@contextmanager
def _signals_handled(numbers: Sequence[signal.Signals], handler: Handler, only: Handler = None) -> Iterator[None]:
    """Set ``handler`` for these signals, given ``only`` just where that is set; restore afterwards."""
    before: dict[signal.Signals, Handler] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in before.items() if only is None or old == only}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
