"""The dead man's switch of ``RealAirflow``: ends its processes when whoever started them is gone.

Runs as a process of its own. Session ids arrive on standard input, one per line; when that closes, because
the harness is done or because it was killed, every process still in one of these sessions is killed and the
folder named as first argument is removed.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator

import psutil


def members(sessions: Collection[int]) -> Iterator[tuple[int, psutil.Process]]:
    """Yield session id and process for whatever lives in these sessions."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            session = os.getsid(process.pid)
            if session in sessions and process.status() != psutil.STATUS_ZOMBIE:
                yield session, process


def kill(sessions: Collection[int]) -> None:
    """Kill every process of these sessions, and whatever they fork meanwhile."""
    while alive := [process for _, process in members(sessions)]:
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def main() -> None:
    """Collect session ids until standard input closes, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = {int(line) for line in sys.stdin}
    kill(sessions)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
