"""Airflow's real application on a database of its own, users of each role, and Dags whose tasks have recorded runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from airflow_runctl.compat import AIRFLOW, IS_AIRFLOW_2
from airflow_runctl.runs import TaskKey

collect_ignore_glob = ["test_[!i]*.py"] if IS_AIRFLOW_2 else []
"""Airflow 2 has no such API server: all it does is load what ``test_in_airflow.py`` is about."""

SITE = "http://testserver"
SECRET = "a-secret-that-no-answer-holds"
HANDLE, AUDIT = "external_run", "external_run_audit"
XCOM_TABLES = ("xcom",) if AIRFLOW < (3, 4) else ("xcom_v1", "xcom_v2")
XCOMS = XCOM_TABLES[-1]
NUMBERS = itertools.count(1)
BEGAN = datetime(2026, 11, 26, 3, tzinfo=UTC)


@pytest.fixture(scope="session")
def airflow_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Airflow's application, with our plugin as Airflow itself finds and mounts it."""
    from airflow import settings
    from airflow.api_fastapi import app as applications
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from airflow.utils.db import synchronize_log_template

    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "j" * 64)
        environment.setenv("AIRFLOW__API__SECRET_KEY", "k" * 32)
        environment.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ann:admin,vic:viewer")
        environment.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(home / "passwords.json"))
        environment.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(home / "logs"))
        (home / "passwords.json").write_text(json.dumps({"ann": "a", "vic": "v"}))
        import_all_models()
        Base.metadata.create_all(settings.engine)
        synchronize_log_template()
        app = applications.create_app(apps="core")
        mounted = {getattr(route, "path", "") for route in app.routes}
        assert "/runctl" in mounted, "this environment was made before the package had a plugin: make environment"
        yield app
        applications.purge_cached_app()
        settings.engine.dispose()


@dataclass
class World:
    """The database, and those who ask."""

    app: Any
    said: list[str] = field(default_factory=list)

    # -- who asks ---------------------------------------------------------------------------------------------

    def token(self, role: str | None) -> str:
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        return str(get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=f"{role}-ann", role=role)))

    def client(self, role: str | None = "admin", *, cookie: bool = False, **headers: str) -> Any:
        """Return who asks with a token of that role, in the header or as the session's cookie."""
        from starlette.testclient import TestClient

        client = TestClient(self.app, base_url=SITE, raise_server_exceptions=False)
        if cookie:
            client.cookies.set("_token", self.token(role))
        else:
            client.headers["Authorization"] = f"Bearer {self.token(role)}"
        client.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return client

    def stranger(self) -> Any:
        """Return who asks without a login."""
        from starlette.testclient import TestClient

        return TestClient(self.app, base_url=SITE, raise_server_exceptions=False)

    # -- what is there ------------------------------------------------------------------------------------------

    def add(
        self,
        dag_id: str,
        task_id: str = "load",
        state: str | None = "running",
        dag_run: str = "running",
        handle: Any = None,
        audit: Any = None,
        run_id: str = "r1",
        try_number: int = 1,
    ) -> TaskKey:
        """Add a task instance that holds a handle, or only what became of its run."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import select

        from airflow_runctl.compat import tables

        number = next(NUMBERS)
        where = TaskKey(dag_id, run_id, task_id)
        with create_session() as session:
            runs, tasks = DagRun.__table__, TaskInstance.__table__
            if session.scalar(select(runs.c.id).where(runs.c.dag_id == dag_id, runs.c.run_id == run_id)) is None:
                run = {"id": number, "dag_id": dag_id, "run_id": run_id, "state": dag_run, "run_type": "manual"}
                session.execute(runs.insert().values(**run, run_after=BEGAN, queued_at=BEGAN))
            task = {"id": id_of(number), "dag_id": dag_id, "run_id": run_id, "task_id": task_id, "state": state}
            rest = {"pool": "default_pool", "pool_slots": 1, "executor_config": {}, "queue": "default"}
            current = {"working_set": True} if "working_set" in tasks.c else {}
            session.execute(tasks.insert().values(**task, **rest, **current, try_number=try_number, max_tries=0))
        for key, value in ((HANDLE, handle), (AUDIT, audit)):
            if value is not None:
                tables.store(key, value, where)
        return where

    def dag(self, dag_id: str, *task_ids: str) -> None:
        """Store a Dag, as the Dag processor does, so that Airflow can mark its tasks."""
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.providers.common.compat.sdk import DAG, BaseOperator
        from airflow.serialization.serialized_objects import LazyDeserializedDAG
        from airflow.utils.session import create_session

        with DAG(dag_id, schedule=None, start_date=BEGAN) as dag:
            for task_id in task_ids:
                BaseOperator(task_id=task_id, execution_timeout=timedelta(minutes=90))
        with create_session() as session:
            if session.get(DagBundleModel, "dags") is None:
                session.add(DagBundleModel(name="dags"))
                session.flush()
            session.add(DagModel(dag_id=dag_id, bundle_name="dags", fileloc="f", is_paused=False, is_stale=False))
            session.flush()
            SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="dags", session=session)

    def state(self, where: TaskKey) -> tuple[str | None, str | None]:
        """Return the state of a task instance and its note."""
        from airflow_runctl.compat import tables

        attempt = tables.latest_attempt(where)
        assert attempt is not None
        return attempt.state, attempt.note

    def add_many(self, dag_id: str, *, alive: int, over: int) -> None:
        """Add as many runs as that, those that are over with what became of them."""
        for number in range(alive):
            self.add(dag_id, f"alive_{number}", handle=self.handle(f"alive_{number}"))
        self.add(dag_id, "over", "success", audit={}, run_id="past_0")
        from airflow import settings
        from sqlalchemy import MetaData, Table

        with settings.engine.begin() as connection:
            # By their own names, whatever Airflow calls them.
            known = MetaData()
            for name in ("dag_run", "task_instance", XCOMS):
                table = Table(name, known, autoload_with=connection, resolve_fks=False)
                of_it = table.c.run_id == "past_0" if "run_id" in table.c else table.c.key == AUDIT
                [row] = connection.execute(table.select().where(of_it)).mappings()
                copies = [{**row, **_fresh(table, number)} for number in range(1, over)]
                connection.execute(table.insert(), copies)

    def handle(self, run_id: str, **more: Any) -> dict[str, Any]:
        """Return a handle that shows a run; what is sealed in it does not open."""
        shown = {"vendor": "bctrl", "conn_id": "bctrl_default", "run_id": run_id, "url": "https://page/1"}
        return {**shown, "started_at": BEGAN.isoformat(), "token": SECRET, **more}


def id_of(number: int) -> Any:
    """Return an id of a task instance as the model of this Airflow takes it."""
    from airflow.models.taskinstance import TaskInstance

    return TaskInstance.__table__.c.id.type.python_type(str(UUID(int=number)))


def _fresh(table: Any, number: int) -> dict[str, Any]:
    """Return what tells the copy of a row from others, as the database itself has it."""
    other = 100_000 + number
    fresh = {"run_id": f"past_{number}", "dag_run_id": other, "task_instance_id": UUID(int=other).hex}
    fresh["id"] = other if table.name == "dag_run" else UUID(int=other).hex
    return {name: value for name, value in fresh.items() if name in table.c}


@pytest.fixture
def world(airflow_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import delete, text

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")  # as the API server does
    yield World(airflow_app)
    with create_session() as session:
        for xcoms in XCOM_TABLES:
            session.execute(text(f"delete from {xcoms}"))
        for model in (TaskInstance, DagRun, DagModel, DagBundleModel):
            session.execute(delete(model))
