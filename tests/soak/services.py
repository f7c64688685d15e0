"""PostgreSQL and Redis of a soak's own: on free ports, in a folder of their own, gone with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from demo.processes import Sessions

UP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
POSTGRESQL: Final = "postgresql"
REDIS: Final = "redis"


class Services:
    """What Celery and Airflow's database stand on.

    :raises RuntimeError: when PostgreSQL or Redis is not installed
    """

    def __init__(self) -> None:
        self._binaries = _postgresql_binaries()
        if not shutil.which("redis-server"):
            raise RuntimeError("make soak needs redis-server; on Debian: apt-get install redis-server")
        self.home = Path(tempfile.mkdtemp(prefix="soak-"))
        # The server's user has to get to its data.
        self.home.chmod(0o755)
        self.sessions = Sessions(self.home, {})
        self._ports = {POSTGRESQL: _free_port(), REDIS: _free_port()}
        self.database = f"postgresql+psycopg2://postgres@127.0.0.1:{self._ports[POSTGRESQL]}/postgres"
        self.redis = f"redis://127.0.0.1:{self._ports[REDIS]}"

    def __enter__(self) -> Self:
        try:
            self._create_database()
            self.start_postgresql()
            self.sessions.start(REDIS, self._redis(), os.environ)
            self._wait_until_up(REDIS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End both and remove their data."""
        self.sessions.close()

    def stop_postgresql(self) -> None:
        """End PostgreSQL as its service does for a restart: connections are cut, nothing is lost."""
        self.sessions.kill(POSTGRESQL, signal.SIGINT, children=False)
        self.sessions.wait(POSTGRESQL)

    def start_postgresql(self) -> None:
        """Start PostgreSQL and wait until it answers."""
        data = self.home / "data"
        command = [self._binaries / "postgres", "-D", data, "-p", self._ports[POSTGRESQL], "-k", data]
        settings = ["listen_addresses=127.0.0.1", "max_connections=300", "fsync=off"]
        self.sessions.start(
            POSTGRESQL, self._as_its_user([*command, *(each for one in settings for each in ("-c", one))]), os.environ
        )
        self._wait_until_up(POSTGRESQL)

    def _create_database(self) -> None:
        data = self.home / "data"
        data.mkdir(mode=0o700)
        if user := _server_user():
            os.chown(data, user.pw_uid, user.pw_gid)
        command = [self._binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(self._as_its_user(command), check=True, stdout=subprocess.DEVNULL, cwd=self.home)

    def _as_its_user(self, command: Sequence[object]) -> list[str]:
        """PostgreSQL refuses to run as root."""
        plain = list(map(str, command))
        user = _server_user()
        if user is None:
            return plain
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *plain]

    def _redis(self) -> list[str]:
        port = str(self._ports[REDIS])
        return ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(self.home)]

    def _wait_until_up(self, name: str) -> None:
        answers: dict[str, Callable[[], bool]] = {POSTGRESQL: self._postgresql_answers, REDIS: self._redis_answers}
        until = time.monotonic() + UP_SECONDS
        while not answers[name]():
            if time.monotonic() > until or name not in self.sessions.running():
                raise RuntimeError(f"{name} does not answer.\n{self.sessions.log(name).read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def _postgresql_answers(self) -> bool:
        port = str(self._ports[POSTGRESQL])
        command = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", port]
        return subprocess.run(command, check=False).returncode == 0

    def _redis_answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._ports[REDIS]), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _postgresql_binaries() -> Path:
    """Debian keeps the server's programs out of the path, a folder for each version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if folders:
        return folders[-1]
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise RuntimeError("make soak needs PostgreSQL's server; on Debian: apt-get install postgresql")


def _server_user() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
