"""An Airflow's public REST API (3.x), in memory: as much of it as tells of runs, in the shapes of the real one."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from airflow_runctl.runs import TaskKey, digest_of

TOKEN = "airflow-token-marked-secret"
USER = {"username": "sweeper", "password": "password-marked-secret"}
PAGE_LIMIT = 100

Answer = tuple[int, Any]


@dataclass
class Task:
    """A task instance."""

    state: str | None = "running"
    try_number: int = 1
    end_date: str | None = None
    note: str | None = None


@dataclass
class AirflowServer:
    """Serves on 127.0.0.1.

    :param refused: kinds of calls that the user lacks the right to make: ``GET xcomEntries``, for example.
    :param on_fail: called when a task is marked as failed.
    """

    tasks: dict[TaskKey, Task] = field(default_factory=dict)
    dag_runs: dict[tuple[str, str], str] = field(default_factory=dict)
    xcoms: dict[tuple[TaskKey, str], Any] = field(default_factory=dict)
    connections: list[dict[str, str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    refusal: str = "Forbidden"
    broken: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    on_fail: Callable[[TaskKey], None] = lambda where: None
    before: Callable[[str, TaskKey | None], None] = lambda kind, where: None
    execution_timeout: dict[str, int] | None = None
    version: str = "3.3.2"
    archived: list[dict[str, Any]] | None = None
    """What archived attempts left, as our own API in the API server shows it; ``None`` without that API."""

    def __enter__(self) -> AirflowServer:
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments: object) -> None:
                pass

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                status, answer = outer.answer(self.command, self.path, self.headers.get("Authorization"), body)
                raw = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- what tests put there ---------------------------------------------------------------------------------

    def add(self, where: TaskKey, handle: Any, state: str | None = "running", dag_run: str = "running") -> None:
        """Add a task instance that holds a handle."""
        ended = datetime.now(UTC).isoformat() if state in {"failed", "success"} else None
        self.tasks[where] = Task(state, end_date=ended)
        self.dag_runs[where.dag_id, where.run_id] = dag_run
        self.xcoms[where, "external_run"] = handle

    # -- answers ------------------------------------------------------------------------------------------------

    def answer(self, method: str, target: str, login: str | None, body: Any) -> Answer:
        parts = urlsplit(target)
        path = [unquote(part) for part in parts.path.split("/")[1:]]
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if path == ["auth", "token"] and body == USER:
            return 201, {"access_token": TOKEN}
        if path[0] == "runctl" and self.archived is not None:
            kind, answer, where = f"{method} archived", lambda: self._archived(method, body), None
        elif path[:2] == ["api", "v2"]:
            kind, answer, where = self._route(method, path[2:], query, body)
        else:
            return 404, {"detail": "Not Found"}
        with self._lock:
            self.calls[kind] += 1
        if login != f"Bearer {TOKEN}" and kind != "GET version":
            return 401, {"detail": "Not authenticated"}
        if kind in self.refused:
            return 403, {"detail": self.refusal}
        if kind in self.broken:
            return 503, {"detail": "Database error"}
        self.before(kind, where)
        with self._lock:
            return answer()

    def _route(
        self, method: str, path: list[str], query: dict[str, str], body: Any
    ) -> tuple[str, Callable[[], Answer], TaskKey | None]:
        match path:
            case ["dags", dag, "dagRuns", run, "taskInstances", task, "xcomEntries"]:
                wanted = (dag, run, task)
                if method == "POST":
                    where = TaskKey(dag, run, task, body["map_index"])
                    return "POST xcomEntries", lambda: self._set(where, body["key"], body["value"], 201), where
                return "GET xcomEntries", lambda: self._list(wanted, query), None
            case ["dags", dag, "dagRuns", run, "taskInstances", task, "xcomEntries", key]:
                index = (body or query).get("map_index", -1)
                where = TaskKey(dag, run, task, int(index))
                acts: dict[str, Callable[[], Answer]] = {
                    "GET": lambda: self._get(where, key),
                    "PATCH": lambda: self._set(where, key, body["value"], 200),
                    "DELETE": lambda: (204, None) if self.xcoms.pop((where, key), None) else _missing("XCom"),
                }
                return f"{method} xcom", acts[method], where
            case ["dags", _, "dagRuns", _, "taskInstances"]:
                return "GET taskInstances", lambda: self._failed(query), None
            case ["dags", dag, "dagRuns", run, "taskInstances", task, *index]:
                where = TaskKey(dag, run, task, int(index[0]) if index else -1)
                act = (lambda: self._task(where)) if method == "GET" else (lambda: self._mark(where, body))
                return f"{method} taskInstance", act, where
            case ["dags", dag, "dagRuns", run]:
                state = self.dag_runs.get((dag, run))
                return "GET dagRun", lambda: (200, {"state": state}) if state else _missing("DagRun"), None
            case ["dags", _, "tasks", _]:
                return "GET task", lambda: (200, {"execution_timeout": self.execution_timeout}), None
            case [name] if name in (rest := self._rest()):
                return f"GET {name}", lambda: (200, rest[name]), None
        return "unknown", lambda: (404, {"detail": "Not Found"}), None

    def _rest(self) -> dict[str, Any]:
        """Return what is answered to the question for all of something."""
        return {
            "version": {"version": self.version},
            "connections": {"connections": self.connections, "total_entries": len(self.connections)},
            "variables": {"variables": [], "total_entries": 0},
        }

    def _list(self, wanted: tuple[str, str, str], query: dict[str, str]) -> Answer:
        found = [
            where
            for where, key in self.xcoms
            if key == query.get("xcom_key", key)
            and all(
                one in ("~", is_) for one, is_ in zip(wanted, (where.dag_id, where.run_id, where.task_id), strict=True)
            )
        ]
        found.sort(key=str)
        limit, offset = min(int(query.get("limit", 50)), PAGE_LIMIT), int(query.get("offset", 0))
        entries = [
            {"key": "external_run", **_names(where), "timestamp": datetime.now(UTC).isoformat()}
            for where in found[offset : offset + limit]
        ]
        return 200, {"xcom_entries": entries, "total_entries": len(found)}

    def _archived(self, method: str, body: Any) -> Answer:
        assert self.archived is not None
        if method == "GET":
            return 200, {"handles": self.archived, "is_all": True}
        digests = {one["digest"] for one in body["over"]}
        self.archived = [one for one in self.archived if digest_of(one["handle"]) not in digests]
        return 204, None

    def _failed(self, query: dict[str, str]) -> Answer:
        assert query["order_by"] == "-end_date"
        rows = [
            {**_names(where), "state": task.state}
            for where, task in self.tasks.items()
            if task.state == query["state"] and str(task.end_date) >= query["end_date_gte"]
        ]
        return 200, {"task_instances": rows, "total_entries": len(rows)}

    def _get(self, where: TaskKey, key: str) -> Answer:
        if (where, key) not in self.xcoms:
            return _missing("XCom entry")
        value = self.xcoms[where, key]
        return 200, {"key": key, **_names(where), "timestamp": datetime.now(UTC).isoformat(), "value": value}

    def _set(self, where: TaskKey, key: str, value: Any, status: int) -> Answer:
        self.xcoms[where, key] = value
        return status, {"key": key, **_names(where), "value": value}

    def _task(self, where: TaskKey) -> Answer:
        task = self.tasks.get(where)
        return _missing("Task Instance") if task is None else (200, {**_names(where), **vars(task)})

    def _mark(self, where: TaskKey, body: dict[str, Any]) -> Answer:
        task = self.tasks.get(where)
        if task is None:
            return _missing("Task Instance")
        task.state, task.end_date = body["new_state"], datetime.now(UTC).isoformat()
        task.note = body.get("note", task.note)
        self.on_fail(where)
        return 200, {"task_instances": [], "total_entries": 1}


def _path(where: TaskKey) -> tuple[str, str, str]:
    return where.dag_id, where.run_id, where.task_id


def _names(where: TaskKey) -> dict[str, Any]:
    return {
        "dag_id": where.dag_id,
        "run_id": where.run_id,
        "dag_run_id": where.run_id,
        "task_id": where.task_id,
        "map_index": where.map_index,
    }


def _missing(what: str) -> Answer:
    return 404, {"detail": f"The {what} was not found"}
