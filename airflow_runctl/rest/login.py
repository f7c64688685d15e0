"""As whom a task asks Airflow's REST API: what a connection says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_runctl.compat import mask_secret
from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable
from airflow_runctl.hooks.settings import base_url_of
from airflow_runctl.rest.calls import SECONDS, Login
from airflow_runctl.runs import printable

if TYPE_CHECKING:
    from airflow.sdk import Connection

DEFAULT_HOST: Final = "localhost:8080"


def login_of(conn: Connection) -> Login:
    """Return the login that a connection stands for: login and password of a user, or a token as its password.

    :param conn: its host is the address of the API server.
    :raises AirflowRefused: if Airflow does not take it.
    :raises AirflowUnreachable: if Airflow does not answer.
    :raises ConnectionSetupError: if the host makes no sense.
    """
    url = base_url_of(conn.conn_id, conn.host, conn.schema, conn.port, DEFAULT_HOST).removesuffix("/api/v2")
    user, password = (conn.login or "").strip(), (conn.password or "").strip()
    if not password:
        raise AirflowRefused(
            f"Connection {conn.conn_id!r} has no password: give login and password of an Airflow user, or a token."
        )
    token = _token_for(url, user, password, conn.conn_id) if user else password
    mask_secret(token)
    return Login(url, token)


def _token_for(url: str, user: str, password: str, conn_id: str) -> str:
    import requests

    try:
        answer = requests.post(
            f"{url}/auth/token",
            json={"username": user, "password": password},
            timeout=SECONDS,
            allow_redirects=False,
        )
        token = answer.json().get("access_token") if answer.ok else None
    except (requests.RequestException, AttributeError) as error:
        raise AirflowUnreachable(f"Airflow at {url} gives no token ({type(error).__name__}).") from error
    if not isinstance(token, str) or not token:
        raise AirflowRefused(
            f"Airflow at {url} gives user {printable(user)!r} of connection {conn_id!r} no token (HTTP "
            f"{answer.status_code}). An auth manager without /auth/token needs a token as the connection's password."
        )
    return token
