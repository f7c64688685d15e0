"""A real Airflow for the demo and the system tests: own home, ports and database, a process per component.

::

    with RealAirflow(dag_folders=[Path("example_dags")], environment=sandbox.connections) as airflow:
        run_id = airflow.trigger("my_dag")
        airflow.wait_for(lambda: airflow.dag_run_state("my_dag", run_id) == "success", "success", 60)
"""

import atexit
import itertools
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import requests
from cryptography.fernet import Fernet

from demo.metadata import Metadata
from demo.processes import ProcessRow, Sessions
from demo.release import RELEASE
from demo.rest import UNMAPPED, AirflowApiError, AirflowRest
from demo.signals import polite_termination, uninterrupted

if TYPE_CHECKING:
    Rest = AirflowRest
else:
    # All dialects have the same public methods.
    Rest = RELEASE.rest

Found = TypeVar("Found")

# What no process can answer goes to all processes of a component, as when its machine is lost or stalls.
WHOLE_COMPONENT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
# A file that makes a Dag at its top level; helpers beside it need not be waited for.
MAKES_A_DAG = re.compile(r"^(@|with |\w+ = )([\w.]+\.)?dag\b", re.IGNORECASE | re.MULTILINE)
# Not stored yet; in the middle of another change. Errors of the server itself (SQLite is locked) pass too.
NOT_YET = {404, 409}
# A line of the access log: structured, of uvicorn (up to Airflow 3.1), of gunicorn (2.11).
ACCESS = re.compile(r'\[http\.access\]|^INFO: +[\d.:]+ - "|^[\d.]+ - - \[')
# What the Dag processor says of each look at a file: it does so all the time, and its logs are the latest ones.
ROUTINE = re.compile(
    "Filling up the DagBag|Refreshing bundle|Searching for files|Found [0-9]+ files|Bulk-writing dags"
    "|next.?dagrun.?info"
)
POLL_SECONDS = 0.25
PROGRESS_SECONDS = 5.0
TAIL_LINES = 15
TAIL_FILES = 8
TAIL_WIDTH = 400


class RealAirflowError(Exception):
    """Airflow did not do what was waited for; the message ends with its logs."""


class RealAirflow(Rest):
    """A booted Airflow (2.11, 3.1 or newer) from the environment of the running interpreter, and its REST API.

    Use it as a context manager, or call ``boot`` and ``close``. It leaves nothing behind when the interpreter
    ends, is interrupted, terminated or killed.

    :param dag_folders: folders with Dag files; each becomes a Dag bundle, on 2.11 a link in the Dag folder. Boot
        waits until each Dag file is stored and fails if one does not import
    :param environment: further environment variables for all components, ``AIRFLOW_CONN_...`` for example
    :param config: further settings as ``{"triggerer.default_capacity": 10}``, over the fast ones here; those that
        ``demo.release`` knows to be renamed go by their newest name
    :param database: SQLAlchemy URL of a PostgreSQL database whose server gets a temporary database for this
        Airflow; SQLite by default, which 2.11 does not take
    :param components: further components that boot with the others, name to ``airflow`` command:
        ``{"worker": ["celery", "worker"]}`` for an executor that ``config`` names
    :param base_path: what its addresses begin with, as behind a proxy that others share: ``/some/base``
    :param progress: called with a line of text now and then while Airflow boots
    :raises ValueError: when this Airflow needs a ``database`` and there is none
    """

    def __init__(
        self,
        *,
        dag_folders: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
        database: str | None = None,
        components: Mapping[str, Sequence[str]] | None = None,
        base_path: str = "",
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        if database is None and RELEASE.lowest_database != "sqlite":
            raise ValueError(
                f"LocalExecutor of Airflow {RELEASE.minor} refuses SQLite: give database=postgresql+psycopg2://..., "
                "which the tests read from RUNCTL_TEST_DB"
            )
        self.dag_folders = [folder.resolve() for folder in dag_folders]
        self.home = Path(tempfile.mkdtemp(prefix="real-airflow-"))
        self.boot_seconds = 0.0
        fernet_key = Fernet.generate_key().decode()
        self._termination = ExitStack()
        self._cleanup = ExitStack()
        self._cleanup.callback(shutil.rmtree, self.home, ignore_errors=True)
        metadata = Metadata(database or f"sqlite:///{self.home}/airflow.db", fernet_key)
        self._cleanup.callback(metadata.close)
        super().__init__(f"http://127.0.0.1:{free_port()}{base_path}", metadata)
        self.sessions = Sessions(self.home, metadata.guarded)
        self._cleanup.callback(self.sessions.close)
        atexit.register(self.close)
        self._progress = progress
        self._commands = {**RELEASE.commands, **(components or {})}
        self._expected_up: set[str] = set()
        self._environment = self._components_environment(fernet_key, config or {}) | dict(environment or {})

    def _components_environment(self, fernet_key: str, config: Mapping[str, object]) -> dict[str, str]:
        settings: dict[str, object] = {
            "core.executor": "LocalExecutor",
            "core.parallelism": 16,
            "core.load_examples": False,
            "core.dags_are_paused_at_creation": False,
            "core.simple_auth_manager_all_admins": True,
            "core.fernet_key": fernet_key,
            "core.execution_api_server_url": f"{self.url}/execution/",
            "core.min_serialized_dag_update_interval": 0,
            "database.sql_alchemy_conn": self.metadata.url,
            "api.host": "127.0.0.1",
            "api.port": urlsplit(self.url).port,
            "api.base_url": self.url,
            "api.secret_key": secrets.token_hex(32),
            "api_auth.jwt_secret": secrets.token_hex(32),
            "dag_processor.bundle_refresh_check_interval": 1,
            "dag_processor.refresh_interval": 5,
            "scheduler.scheduler_idle_sleep_time": 0.2,
            # A task that goes on sooner than this after its deferral can be taken for killed by LocalExecutor.
            "workers.min_heartbeat_interval": 1,
            "usage_data_collection.enabled": False,
            **RELEASE.place_dags(self.home, self.dag_folders),
            **config,
        }
        for name, content in RELEASE.home_files.items():
            (self.home / name).write_text(content)
        # What a developer has set for another Airflow must not reach this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        loopback = ",".join(filter(None, [inherited.get("no_proxy"), "127.0.0.1", "localhost"]))
        return {
            **inherited,
            "AIRFLOW_HOME": str(self.home),
            # Airflow 2's webserver leaves files there.
            "TMPDIR": str(self.home),
            "NO_COLOR": "1",
            "NO_PROXY": loopback,
            "no_proxy": loopback,
            **RELEASE.environment(settings),
        }

    # --- from boot to close ---

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def boot(self) -> None:
        """Create the database, start every component, wait until all are healthy and all Dags are stored.

        :raises RealAirflowError: with the logs, when this does not happen within two minutes
        """
        began = time.monotonic()
        self._termination.enter_context(polite_termination())
        try:
            self._migrate()
            for name in self._commands:
                self.start(name)
            self.wait_for(self._all_healthy, "all components to be healthy", 120, self._progress)
            self.wait_for(self._all_dags_stored, "all Dag files to be stored", 120, self._progress)
            if errors := self.import_errors():
                raise RealAirflowError("\n".join(f"{file}:\n{trace}" for file, trace in errors.items()))
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - began
        self._progress(f"Airflow is up after {self.boot_seconds:.0f} s: {self.url}")

    def close(self) -> None:
        """End every process, remove the home and the database. More than once is no error."""
        self._termination.close()
        with uninterrupted():
            atexit.unregister(self.close)
            self._expected_up.clear()
            self._cleanup.close()

    def _migrate(self) -> None:
        self.sessions.start("migrate", self._airflow("db", "migrate"), self._environment)
        self.wait_for(
            lambda: self.sessions.exit_code("migrate") is not None,
            "the metadata database",
            120,
            self._progress,
        )
        if self.sessions.exit_code("migrate") != 0:
            raise RealAirflowError(f"'airflow db migrate' failed.\n{self.tails()}")
        self.metadata.keep_history()

    def _all_healthy(self) -> bool:
        return set(self.health().values()) == {"healthy"}

    def _all_dags_stored(self) -> bool:
        # Read through a link, on Airflow 2.
        seen = {Path(dag["fileloc"]).resolve() for dag in self.dags()}
        # Import errors name the file relative to its bundle, if there are bundles.
        broken = tuple(self.import_errors())
        files = [file.resolve() for folder in self.dag_folders for file in folder.rglob("*.py")]
        return all(file in seen or str(file).endswith(broken) for file in files if MAKES_A_DAG.search(file.read_text()))

    # --- its components ---

    def _airflow(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments]

    def start(self, component: str) -> None:
        """Start a component that is not running: ``triggerer``, or a second one as ``triggerer-2``.

        It is up when its work shows; ``health`` tells of the latest of its kind.
        """
        command = self._commands.get(component) or self._commands[re.sub(r"-\d+$", "", component)]
        self.sessions.start(component, self._airflow(*command), self._environment)
        self._expected_up.add(component)

    def kill(
        self,
        component: str,
        number: signal.Signals = signal.SIGKILL,
        *,
        children: bool | None = None,
    ) -> None:
        """Send a signal to a component.

        :param number: by default SIGKILL; SIGSTOP and SIGCONT stall it and let it go on
        :param children: also to everything it has forked, tasks included; by default for SIGKILL, SIGSTOP
            and SIGCONT
        """
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self._expected_up.discard(component)
        everything = number in WHOLE_COMPONENT if children is None else children
        self.sessions.kill(component, number, children=everything)

    def pid(self, component: str) -> int:
        """Return the process id of a component."""
        return self.sessions.pid(component)

    def process_table(self) -> list[ProcessRow]:
        """Return every living process of this Airflow."""
        return self.sessions.table()

    def leftovers(self) -> list[ProcessRow | Path]:
        """Return what ``close`` should have removed and has not: processes, files."""
        return [*self.process_table(), *self.home.rglob("*")]

    def task_process(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED, timeout: float = 60
    ) -> int:
        """Wait until a task instance runs and return the id of the process that runs its code."""
        return self._task_row(dag_id, run_id, task_id, map_index, timeout).pid

    def task_supervisor(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED, timeout: float = 60
    ) -> int:
        """Wait until a task instance runs and return the id of the process that supervises it."""
        return self._task_row(dag_id, run_id, task_id, map_index, timeout).parent

    def _task_row(self, dag_id: str, run_id: str, task_id: str, map_index: int, timeout: float) -> ProcessRow:
        def find() -> ProcessRow | None:
            row = self.task_instance(dag_id, run_id, task_id, map_index)
            title = RELEASE.runner_title.format(id=row["id"])
            # Only once its id is stored: 2.11 then writes its state anew, over a mark that came meanwhile.
            return next((each for each in self.process_table() if (each.pid, each.title) == (row["pid"], title)), None)

        return self.wait_for(find, f"the process of task {dag_id}.{task_id}", timeout)

    def triggerer_of(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED, timeout: float = 60
    ) -> int:
        """Wait until a triggerer has taken the trigger of a deferred task instance; return its job id."""

        def find() -> int | None:
            trigger = self.task_instance(dag_id, run_id, task_id, map_index)["trigger"]
            taken: int | None = trigger["triggerer_id"] if trigger else None
            return taken

        return self.wait_for(find, f"a triggerer to take the trigger of {dag_id}.{task_id}", timeout)

    # --- waiting and looking ---

    def wait_for(
        self,
        predicate: Callable[[], Found | None],
        what: str,
        timeout: float,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Found:
        """Ask again and again until ``predicate`` returns something true; return that.

        While the API server is away or does not know what is asked for, the answer is "not yet".

        :param what: ends the sentence "waited in vain for ..."
        :param timeout: seconds
        :raises RealAirflowError: when it takes longer, or a component ended that nobody killed
        """
        began = said = time.monotonic()
        trouble = ""
        while True:
            try:
                if found := predicate():
                    return found
                trouble = ""
            except (requests.RequestException, AirflowApiError) as error:
                if isinstance(error, AirflowApiError) and error.status < 500 and error.status not in NOT_YET:
                    raise
                trouble = f" (last answer: {str(error)[:300]})"
            waited = time.monotonic() - began
            if waited > timeout:
                raise RealAirflowError(f"Waited {waited:.0f} s in vain for {what}{trouble}.\n{self.tails()}")
            if ended := self._expected_up - set(self.sessions.running()):
                codes = ", ".join(f"{name} ({self.sessions.exit_code(name)})" for name in ended)
                raise RealAirflowError(f"Ended while waiting for {what}: {codes}.\n{self.tails()}")
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                progress(f"still booting, {waited:.0f} s: waiting for {what}")
            time.sleep(POLL_SECONDS)

    def wait_for_dag_run(self, dag_id: str, run_id: str, timeout: float = 120) -> str:
        """Wait until a Dag run is over; return success or failed."""

        def over() -> str | None:
            state = self.dag_run_state(dag_id, run_id)
            return state if state in ("success", "failed") else None

        return self.wait_for(over, f"Dag run {run_id} of {dag_id} to be over", timeout)

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *states: str,
        map_index: int = UNMAPPED,
        timeout: float = 120,
    ) -> str:
        """Wait until a task instance is in one of these states; return which."""

        def reached() -> str | None:
            state = self.task_state(dag_id, run_id, task_id, map_index)
            return state if state in states else None

        return self.wait_for(reached, f"task {dag_id}.{task_id} to be {' or '.join(states)}", timeout)

    def log_files(self) -> list[Path]:
        """Return every log file of this Airflow: components, Dag processor, tasks, triggers; latest last."""
        folders = (self.sessions.logs, self.home / "logs")
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return sorted(files, key=lambda file: file.stat().st_mtime)

    def tails(self) -> str:
        """Return the ends of the logs that were written last, for the message of a failing test."""
        tails = (_tail(file, self.home) for file in reversed(self.log_files()))
        return "\n".join(reversed(list(itertools.islice(filter(None, tails), TAIL_FILES))))

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield (where, text) of everything in which a secret could show.

        All log files, and all that is or was in the metadata database: XComs, rendered fields, arguments and
        events of triggers (decrypted), data and output of callbacks, task state store, ...
        """
        for file in self.log_files():
            yield str(file.relative_to(self.home)), file.read_text(errors="replace")
        yield from self.metadata.texts()


def _tail(file: Path, home: Path) -> str:
    # The API server's access log drowns everything else, and what is asked most is the harness's own polling.
    text = file.read_text(errors="replace")
    lines = [line for line in text.splitlines() if not ACCESS.search(line) and not ROUTINE.search(line)]
    shown = [line[:TAIL_WIDTH] for line in lines[-TAIL_LINES:]]
    return "\n".join([f"--- {file.relative_to(home)}", *shown]) if shown else ""


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
