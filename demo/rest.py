"""Airflow's public REST API (``/api/v2``, Airflow 3), as far as the demo and the system tests use it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import requests

from demo.metadata import Metadata

# What the API returns is read once, by the test that asked; its shape is Airflow's business.
Json = dict[str, Any]
UNMAPPED = -1


DATABASE_TRIES = 20
"""How often a request is sent again that met a locked SQLite database."""


class AirflowApiError(Exception):
    """Airflow's API refused a request; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AirflowRest:
    """A client for an Airflow whose SimpleAuthManager treats everybody as admin.

    :param url: address of the API server, without ``/api/v2``
    :param metadata: its database, for what an older API does not tell
    """

    root = "api/v2"
    health_path: Sequence[str] = ("monitor", "health")
    trigger_defaults: ClassVar[Json] = {"logical_date": None}
    mark_defaults: ClassVar[Json] = {}

    def __init__(self, url: str, metadata: Metadata) -> None:
        self.url = url
        self.metadata = metadata
        self._http = requests.Session()
        self._http.trust_env = False

    # --- any request ---

    def request(
        self,
        method: str,
        *path: str | int,
        query: Mapping[str, Any] | None = None,
        body: object = None,
    ) -> Any:
        """Send one request to ``/api/v2/<path>``, each part percent-encoded; return the decoded answer.

        :raises AirflowApiError: for any status from 400 on
        :raises requests.RequestException: when nobody answers
        """
        response = self.response(method, *path, query=query, body=body)
        return response.json() if response.content else None

    def response(
        self,
        method: str,
        *path: str | int,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        accept: str = "application/json",
    ) -> requests.Response:
        """Send one request as ``request`` does and return the answer as it came."""
        url = "/".join([self.url, self.root, *(quote(str(part), safe="") for part in path)])

        def send() -> requests.Response:
            return self._http.request(method, url, params=query, json=body, headers={"Accept": accept}, timeout=60)

        response = send()
        if response.status_code == requests.codes.unauthorized:
            self._login()
            response = send()
        for _ in range(DATABASE_TRIES):
            if "Database error" not in response.text[:200] or response.status_code < 500:
                break
            # A locked SQLite database: nothing was done.
            time.sleep(0.5)
            response = send()
        if not response.ok:
            asked = f"{method} {url} {body if body is not None else ''}".strip()
            raise AirflowApiError(response.status_code, f"{asked}: HTTP {response.status_code} {response.text[:2000]}")
        return response

    def _pages(self, name: str, *path: str | int, **query: Any) -> list[Json]:
        rows: list[Json] = []
        while True:
            page = self.request("GET", *path, query={**query, "limit": 100, "offset": len(rows)})
            rows += page[name]
            if not page[name] or len(rows) >= page["total_entries"]:
                return rows

    def _login(self) -> None:
        answer = self._http.get(f"{self.url}/auth/token", timeout=60)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    # --- the deployment ---

    def health(self) -> dict[str, str | None]:
        """Return the status of metadatabase, scheduler, triggerer and dag_processor."""
        answer = self.request("GET", *self.health_path)
        return {component: details["status"] for component, details in answer.items()}

    def import_errors(self) -> dict[str, str]:
        """Return file name and stack trace of each Dag file that does not import."""
        errors = self._pages("import_errors", "importErrors")
        return {error["filename"]: error["stack_trace"] for error in errors}

    def dags(self) -> list[Json]:
        """Return every Dag that the Dag processor has stored."""
        return self._pages("dags", "dags")

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Let the scheduler run this Dag, or with ``paused=True`` no longer."""
        self.request("PATCH", "dags", dag_id, body={"is_paused": paused})

    # --- Dag runs ---

    def trigger(self, dag_id: str, *, conf: Json | None = None, run_id: str | None = None) -> str:
        """Start a Dag run now and return its run id."""
        body: Json = {**self.trigger_defaults, "conf": conf or {}}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.request("POST", "dags", dag_id, "dagRuns", body=body)["dag_run_id"])

    def dag_run(self, dag_id: str, run_id: str) -> Json:
        """Return everything Airflow tells about one Dag run."""
        answer: Json = self.request("GET", "dags", dag_id, "dagRuns", run_id)
        return answer

    def dag_runs(self, dag_id: str) -> list[Json]:
        """Return the Dag runs of a Dag, the oldest first."""
        return self._pages("dag_runs", "dags", dag_id, "dagRuns", order_by="id")

    def dag_run_state(self, dag_id: str, run_id: str) -> str:
        """Return queued, running, success or failed."""
        return str(self.dag_run(dag_id, run_id)["state"])

    def mark_dag_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Do what the button does: set a Dag run to success or failed."""
        self.request("PATCH", "dags", dag_id, "dagRuns", run_id, body={"state": state})

    def clear_dag_run(self, dag_id: str, run_id: str, *, only_failed: bool = False) -> None:
        """Clear all tasks of a Dag run, so that they run again."""
        body = {"dry_run": False, "only_failed": only_failed}
        self.request("POST", "dags", dag_id, "dagRuns", run_id, "clear", body=body)

    def forget_task_states(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Delete what a task instance has in the task state store (3.3 and newer)."""
        self.request("DELETE", "dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "state-store")

    def variables(self, prefix: str) -> dict[str, str]:
        """Return the Variables whose keys begin so, description to value."""
        rows = self._pages("variables", "variables", variable_key_pattern=f"{prefix}%")
        return {row["description"]: row["value"] for row in rows}

    def forget_variables(self, prefix: str) -> None:
        """Delete the Variables whose keys begin so."""
        for row in self._pages("variables", "variables", variable_key_pattern=f"{prefix}%"):
            self.request("DELETE", "variables", row["key"])

    # --- task instances ---

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return every task instance of a Dag run, mapped ones each."""
        return self._pages("task_instances", "dags", dag_id, "dagRuns", run_id, "taskInstances")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task instance by ``task_id``, mapped ones as ``task_id[map_index]``."""
        return {
            row["task_id"] + (f"[{row['map_index']}]" if row["map_index"] != UNMAPPED else ""): row["state"]
            for row in self.task_instances(dag_id, run_id)
        }

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Json:
        """Return everything Airflow tells about one task instance: its latest try."""
        answer: Json = self.request("GET", *task_instance_path(dag_id, run_id, task_id, map_index))
        return answer

    def task_state(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> str | None:
        """Return the state of one task instance, None before it is scheduled."""
        state: str | None = self.task_instance(dag_id, run_id, task_id, map_index)["state"]
        return state

    def rendered_fields(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Json:
        """Return the rendered template fields of one task instance, as everybody may see them."""
        fields: Json = self.task_instance(dag_id, run_id, task_id, map_index)["rendered_fields"]
        return fields

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = UNMAPPED) -> None:
        """Do what the button does: set a task instance to success, failed or skipped."""
        path = task_instance_path(dag_id, run_id, task_id, map_index)
        self.request("PATCH", *path, body={**self.mark_defaults, "new_state": state})

    def clear_task(self, dag_id: str, run_id: str, *tasks: str | tuple[str, int], downstream: bool = False) -> None:
        """Do what the button does: clear tasks, each given as ``task_id`` or ``(task_id, map_index)``."""
        task_ids = [task if isinstance(task, str) else list(task) for task in tasks]
        self._clear(dag_id, run_id, only_failed=False, task_ids=task_ids, include_downstream=downstream)

    def _clear(self, dag_id: str, run_id: str, **which: Any) -> Json:
        body = {"dry_run": False, "dag_run_id": run_id, "reset_dag_runs": True, **which}
        answer: Json = self.request("POST", "dags", dag_id, "clearTaskInstances", body=body)
        return answer

    def extra_links(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> dict[str, str | None]:
        """Return what the buttons of a task instance open, by their names; None where that is nothing yet."""
        path = (*task_instance_path(dag_id, run_id, task_id), "links")
        links: dict[str, str | None] = self.request("GET", *path, query={"map_index": map_index})["extra_links"]
        return links

    def task_log(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        try_number: int | None = None,
        map_index: int = UNMAPPED,
    ) -> str:
        """Return the log of one try, by default the latest, one event per line."""
        if try_number is None:
            try_number = self.task_instance(dag_id, run_id, task_id, map_index)["try_number"]
        return self._log((*task_instance_path(dag_id, run_id, task_id), "logs", try_number), map_index)

    def _log(self, path: Sequence[str | int], map_index: int) -> str:
        answer = self.request("GET", *path, query={"map_index": map_index, "full_content": True})
        return "\n".join(_log_line(event) for event in answer["content"])

    # --- XCom ---

    def xcom_keys(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> list[str]:
        """Return the XCom keys of one task instance."""
        path = _xcoms(dag_id, run_id, task_id)
        return [entry["key"] for entry in self._pages("xcom_entries", *path, map_index=map_index)]

    def xcom_tasks(self, dag_id: str, run_id: str, key: str) -> list[tuple[str, int]]:
        """Return task id and map index of whatever holds an XCom of this key."""
        entries = self._pages("xcom_entries", *_xcoms(dag_id, run_id, "~"), xcom_key=key)
        return [(entry["task_id"], entry["map_index"]) for entry in entries]

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = UNMAPPED,
    ) -> Any:
        """Return one XCom value as plain JSON.

        :raises AirflowApiError: with status 404 when there is none
        """
        query = {"map_index": map_index, "stringify": "false"}
        return self.request("GET", *_xcoms(dag_id, run_id, task_id), key, query=query)["value"]

    def set_xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str,
        value: object,
        map_index: int = UNMAPPED,
    ) -> None:
        """Create or replace one XCom value, as everybody with access to the API may."""
        path = _xcoms(dag_id, run_id, task_id)
        body = {"value": value, "map_index": map_index}
        if key in self.xcom_keys(dag_id, run_id, task_id, map_index):
            self.request("PATCH", *path, key, body=body)
        else:
            self.request("POST", *path, body={"key": key, **body})

    # --- task state store ---

    def task_state_store(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Json:
        """Return the task state store of one task instance, value by key."""
        path = (*task_instance_path(dag_id, run_id, task_id), "state-store")
        entries = self._pages("task_state_store", *path, map_index=map_index)
        return {entry["key"]: entry["value"] for entry in entries}


class AirflowRest32(AirflowRest):
    """The same up to Airflow 3.2: tasks have no state store."""

    def task_state_store(self, dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Json:
        """Return nothing: there is no task state store."""
        return {}


class AirflowRest31(AirflowRest32):
    """The same up to Airflow 3.1: an XCom written by the API reaches a task as JSON text, so none is written by it."""

    def set_xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str,
        value: object,
        map_index: int = UNMAPPED,
    ) -> None:
        """Create or replace one XCom value in the database."""
        self.metadata.set_xcom(dag_id, run_id, task_id=task_id, map_index=map_index, key=key, value=value)


def task_instance_path(dag_id: str, run_id: str, task_id: str, map_index: int = UNMAPPED) -> Sequence[str | int]:
    """Return the path of a task instance; some calls take its map index as a query instead."""
    path = ("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id)
    return path if map_index == UNMAPPED else (*path, map_index)


def _xcoms(dag_id: str, run_id: str, task_id: str) -> Sequence[str | int]:
    return (*task_instance_path(dag_id, run_id, task_id), "xcomEntries")


def _log_line(event: Json | str) -> str:
    if isinstance(event, str):
        return event
    known = {"timestamp", "level", "event", "logger"}
    rest = " ".join(f"{name}={value}" for name, value in event.items() if name not in known)
    return f"{event.get('timestamp') or ''} {event.get('level') or ''} {event.get('event')} {rest}".strip()
