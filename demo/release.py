"""Which Airflow stands beside the running interpreter, and all in which the harness treats one unlike another."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from demo.rest import AirflowRest, AirflowRest31, AirflowRest32
from demo.rest_v1 import AirflowRestV1

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Release:
    """What differs from one Airflow to the next; the harness itself speaks of all by the newest names.

    :param minor: ``3.3`` for example
    :param rest: the dialect of its public REST API
    :param commands: component to the ``airflow`` command that runs it
    :param place_dags: makes the Dag folders known, given the home and the folders; returns the settings for it
    :param runner_title: how the process that runs a task's code calls itself, given the task instance's ``id``
    :param settings: settings of its own
    :param renamed: setting to the name that it has here
    :param variables: environment variables of its own
    :param home_files: files to be written into the home
    :param lowest_database: what LocalExecutor demands: ``sqlite`` or ``postgresql``
    :param has_deadlines: whether a Dag can have deadlines; else its tasks have SLAs
    """

    minor: str
    rest: type[AirflowRest]
    commands: Mapping[str, Sequence[str]]
    place_dags: Callable[[Path, Sequence[Path]], Settings]
    runner_title: str
    settings: Settings = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    home_files: Mapping[str, str] = field(default_factory=dict)
    lowest_database: str = "sqlite"
    has_deadlines: bool = True

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the environment variables for settings given by their newest names."""
        names = {self.renamed.get(name, name): value for name, value in {**self.settings, **settings}.items()}
        return {
            **self.variables,
            **{f"AIRFLOW__{name.upper().replace('.', '__')}": str(value) for name, value in names.items()},
        }


def _as_bundles(home: Path, folders: Sequence[Path]) -> Settings:
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": f"{n}-{folder.name}", "classpath": local, "kwargs": {"path": str(folder)}}
        for n, folder in enumerate(folders)
    ]
    return {"dag_processor.dag_bundle_config_list": json.dumps(bundles)}


def _as_links(home: Path, folders: Sequence[Path]) -> Settings:
    """Airflow 2 has one folder and follows the links in it."""
    dags = home / "dags"
    dags.mkdir()
    for n, folder in enumerate(folders):
        (dags / f"{n}-{folder.name}").symlink_to(folder)
    return {"core.dags_folder": dags}


_AIRFLOW_3_3 = Release(
    minor="3.3",
    rest=AirflowRest,
    commands={
        "api-server": ["api-server"],
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "dag-processor": ["dag-processor"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
    },
    place_dags=_as_bundles,
    runner_title="airflow worker -- {id}",
)

_AIRFLOW_2_11 = replace(
    _AIRFLOW_3_3,
    minor="2.11",
    rest=AirflowRestV1,
    commands={**_AIRFLOW_3_3.commands, "api-server": ["webserver"]},
    place_dags=_as_links,
    runner_title="airflow task runner: {id}",
    settings={
        "api.auth_backends": "airflow.api.auth.backend.default",
        "scheduler.standalone_dag_processor": True,
        "webserver.workers": 1,
    },
    renamed={
        "api.host": "webserver.web_server_host",
        "api.port": "webserver.web_server_port",
        "api.base_url": "webserver.base_url",
        "api.secret_key": "webserver.secret_key",
        "dag_processor.refresh_interval": "scheduler.dag_dir_list_interval",
        "dag_processor.min_file_process_interval": "scheduler.min_file_process_interval",
        "scheduler.task_instance_heartbeat_timeout": "scheduler.scheduler_zombie_task_threshold",
        "scheduler.task_instance_heartbeat_timeout_detection_interval": "scheduler.zombie_detection_interval",
    },
    # By default all gunicorns of a user share one, in the user's home.
    variables={"GUNICORN_CMD_ARGS": "--no-control-socket"},
    # Who has not logged in, which is everybody, may do everything.
    home_files={"webserver_config.py": 'AUTH_ROLE_PUBLIC = "Admin"\n'},
    lowest_database="postgresql",
    has_deadlines=False,
)

RELEASES: Final = {
    release.minor: release
    for release in (
        _AIRFLOW_2_11,
        replace(_AIRFLOW_3_3, minor="3.1", rest=AirflowRest31),
        replace(_AIRFLOW_3_3, minor="3.2", rest=AirflowRest32),
        _AIRFLOW_3_3,
        replace(_AIRFLOW_3_3, minor="3.4"),
    )
}


def _installed() -> Release:
    """Look without an import of Airflow, which would read settings and open a database in this process."""
    minor = ".".join(version("apache-airflow").split(".")[:2])
    if minor not in RELEASES:
        raise RuntimeError(f"The harness knows Airflow {', '.join(RELEASES)}, not {minor}: see demo/release.py")
    return RELEASES[minor]


RELEASE: Final = _installed()
