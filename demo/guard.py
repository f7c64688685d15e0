"""The dead man's switch of ``RealAirflow``: ends its processes when whoever started them is gone.

Runs as a process of its own. Session ids arrive on standard input, one per line; when that closes, because
the harness is done or because it was killed, every process still in one of these sessions is killed, the
folder named as first argument is removed and the database named in the environment, if there is one, dropped.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

SERVER = "RUNCTL_GUARD_SERVER"
DATABASE = "RUNCTL_GUARD_DATABASE"


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


def drop_database(server: str, name: str) -> None:
    """Drop a database of a PostgreSQL server; connections that are still open do not hinder it."""
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


def main() -> None:
    """Collect session ids until standard input closes, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions = {int(line) for line in sys.stdin}
    kill(sessions)
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if name := os.environ.get(DATABASE):
        drop_database(os.environ[SERVER], name)


if __name__ == "__main__":
    main()
