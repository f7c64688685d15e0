"""The API server of Airflow 3: who asks, what they may, and which sites are its own. Loaded by no other process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user, resolve_user_from_token
from airflow.configuration import conf
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from sqlalchemy import select

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from fastapi import Request

LOGIN_COOKIE: Final = COOKIE_NAME_JWT_TOKEN

READ: Final = "GET"
EDIT: Final = "PUT"


async def who_asks(request: Request, bearer: str | None) -> BaseUser:
    """Return the user whose token a request bears; one in the header wins over the cookie, on each Airflow.

    :raises HTTPException: 401 without a token, 401 or 403 with one that is not taken.
    """
    if bearer is not None:
        return await resolve_user_from_token(bearer)
    # The cookie's user may have been read, and refreshed, before this.
    return await get_user(request, None, None)


class Rights:
    """What a user may, as Airflow's auth manager says; it may ask a server or the database: call it in threads.

    :param user: the user.
    """

    def __init__(self, user: BaseUser) -> None:
        self._user: Any = user
        self._manager: Any = get_auth_manager()

    def dags(
        self, method: Any, dag_ids: Iterable[str], entity: DagAccessEntity = DagAccessEntity.TASK_INSTANCE
    ) -> frozenset[str]:
        """Return those of these Dags whose task instances the user may read, or edit.

        :param method: ``READ`` or ``EDIT``.
        :param entity: something else of the Dags than task instances.
        """
        ids = sorted(set(dag_ids))
        teams = _teams_of(ids)
        details = {dag_id: DagDetails(id=dag_id, **teams.get(dag_id, {})) for dag_id in ids}
        batch: list[Any] = [{"method": method, "access_entity": entity, "details": one} for one in details.values()]
        if not batch or self._manager.batch_is_authorized_dag(batch, user=self._user):
            return frozenset(ids)
        return frozenset(
            dag_id
            for dag_id, one in details.items()
            if self._manager.is_authorized_dag(method=method, access_entity=entity, details=one, user=self._user)
        )

    def dags_with_xcoms(self, dag_ids: Iterable[str]) -> frozenset[str]:
        """Return those of these Dags whose XComs the user may read."""
        return self.dags(READ, dag_ids, DagAccessEntity.XCOM)

    def any_dag(self, method: Any) -> bool:
        """Return True if the user may read, or edit, the task instances of some Dag."""
        ask, entity = self._manager.is_authorized_dag, DagAccessEntity.TASK_INSTANCE
        # Without a Dag, FAB's manager says of an edit only whether the user may edit task instances, of no Dag perhaps.
        everywhere = all(
            ask(method=method, access_entity=one, details=DagDetails(), user=self._user) for one in (entity, None)
        )
        # An auth manager can give rights to single Dags, and none to all.
        return everywhere or bool(
            self.dags(method, self._manager.get_authorized_dag_ids(user=self._user, method=method))
        )

    def start(self, dag_id: str) -> bool:
        """Return True if the user may start a Dag."""
        details = DagDetails(id=dag_id, **_teams_of([dag_id]).get(dag_id, {}))
        may = self._manager.is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=details, user=self._user
        )
        return bool(may)

    def try_connection(self, conn_id: str) -> bool:
        """Return True if the user may test a connection, by Airflow's own rule for that."""
        details = ConnectionDetails(conn_id=conn_id, **_team_of_connection(conn_id))
        return bool(self._manager.is_authorized_connection(method="POST", details=details, user=self._user))


def _teams_of(dag_ids: list[str]) -> dict[str, dict[str, Any]]:
    if not dag_ids or not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    with create_session() as session:
        teams = DagModel.get_dag_id_to_team_name_mapping(dag_ids, session=session)
    return {dag_id: {"team_name": team} for dag_id, team in teams.items()}


def _team_of_connection(conn_id: str) -> dict[str, Any]:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    with create_session() as session:
        return {"team_name": session.scalar(select(Connection.team_name).where(Connection.conn_id == conn_id))}


def own_sites() -> list[str]:
    """Return the addresses of pages that Airflow's configuration trusts: its own, and those let in by CORS."""
    allowed: list[str] = conf.getlist("api", "access_control_allow_origins", fallback="") or []
    return [conf.get("api", "base_url", fallback="") or "", *allowed]


__all__ = ["EDIT", "LOGIN_COOKIE", "READ", "Rights", "own_sites", "who_asks"]
