"""The SnapLogic connection type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from airflow_runctl.arguments.reading import read_call
from airflow_runctl.exceptions import ConnectionSetupError
from airflow_runctl.hooks.base import RunHook, Settings
from airflow_runctl.vendors.base import basic, bearer
from airflow_runctl.vendors.snaplogic.api import SETTLING_TIME
from airflow_runctl.vendors.snaplogic.org import quota, switch_task
from airflow_runctl.vendors.snaplogic.vendor import SnapLogic

AUTH_MODES: Final = ("basic", "jwt")


class SnapLogicHook(RunHook):
    """Reaches SnapLogic's public API and its Triggered Tasks.

    The connection: host (``elastic.snaplogic.com`` by default), login and password (e-mail and password, or
    a JWT in the password with ``auth=jwt``), and the extra fields ``org`` (required), ``auth``
    (``basic`` or ``jwt``), ``task_token``, ``task_hosts``, ``dashboard_url``,
    ``settling_time``, ``seal_key``.

    :param conn_id: id of the connection, ``snaplogic_default`` if left out.
    """

    conn_name_attr = "snaplogic_conn_id"
    default_conn_name = "snaplogic_default"
    conn_type = "snaplogic"
    hook_name = "SnapLogic"
    default_host = "elastic.snaplogic.com"

    @classmethod
    def build(cls, settings: Settings) -> SnapLogic:
        """Return SnapLogic as the connection describes it."""
        auth = settings.text("auth", "basic").lower()
        if auth not in AUTH_MODES:
            raise ConnectionSetupError(
                f"Extra 'auth' of connection {settings.conn_id!r} is {auth!r}; it can be basic or jwt."
            )
        uses_basic = auth == "basic"
        password = settings.require(settings.password, "password" if uses_basic else "JWT in its password")
        login = settings.require(settings.login, "login (the account's e-mail)") if uses_basic else settings.login
        account = basic(login, password) if uses_basic else bearer(password)
        task_token = settings.text("task_token")
        return SnapLogic(
            org=settings.require(settings.text("org"), "'org' in its extra (the SnapLogic org or environment)"),
            headers=account,
            task_headers=bearer(task_token) if task_token else account,
            base_url=settings.base_url,
            task_hosts=settings.texts("task_hosts"),
            dashboard_url=settings.text("dashboard_url") or None,
            uses_basic=uses_basic,
            account=login,
            settling_time=settings.seconds("settling_time", SETTLING_TIME),
        )

    @classmethod
    def seal_keys(cls, settings: Settings) -> tuple[str, ...]:
        """Return what handles are sealed with. A JWT changes all the time and seals nothing.

        :raises ConnectionSetupError: with ``auth=jwt`` and no ``seal_key``.
        """
        if settings.text("auth", "basic").lower() != "jwt":
            return super().seal_keys(settings)
        keys = settings.texts("seal_key")
        if not keys:
            raise ConnectionSetupError(
                f"Connection {settings.conn_id!r} uses auth=jwt and has no 'seal_key' in its extra. Handles of runs "
                "are sealed with it, since a JWT changes too often; set it to a long random text."
            )
        return keys

    def get_quota(self, kind: str | None = None, at: datetime | None = None) -> Mapping[str, Any]:
        """Return the org's quota of triggered runs; the account has to be an org admin's.

        :param kind: ``daily`` or ``concurrent`` for one of them in detail; both by default.
        :param at: the time it is read for, now by default.
        :returns: see :func:`~airflow_runctl.vendors.snaplogic.org.quota`.
        """
        read_call("SnapLogicHook.get_quota", kind=kind, at=at)
        return self.run(quota(self._org(), kind, at))

    def enable_task(self, task_path: str) -> None:
        """Enable a task.

        :param task_path: ``/org/space/project/task``; the org may be left out.
        """
        read_call("SnapLogicHook.enable_task", task_path=task_path)
        self.run(switch_task(self._org(), task_path, on=True))

    def disable_task(self, task_path: str) -> None:
        """Disable a task; the instances of an Ultra Task end, a scheduled one starts no more.

        :param task_path: ``/org/space/project/task``; the org may be left out.
        """
        read_call("SnapLogicHook.disable_task", task_path=task_path)
        self.run(switch_task(self._org(), task_path, on=False))

    def list_runs(self, **filters: str | int | None) -> list[Mapping[str, Any]]:
        """List runs, all pages.

        :param filters: ``state``, ``invoker``, ``pipe_name``, ``project_path``, ``last_hours`` (1 by default) ...
        """
        return self.run(self._org().list_runs(**filters))

    def _org(self) -> SnapLogic:
        return cast(SnapLogic, self.access.vendor)
