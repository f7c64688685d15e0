"""A connection means the same as URI, as JSON and in fields, for either of Airflow 3's two connection classes."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from airflow.models import Connection as StoredConnection
from airflow.providers.common.compat.sdk import Connection as TaskConnection

from airflow_runctl.hooks.axiom import AxiomHook
from airflow_runctl.hooks.base import Access, RunHook
from airflow_runctl.hooks.bctrl import BctrlHook
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.hooks.vectorshift import VectorShiftHook

Row = dict[str, Any]

HOOKS: dict[str, type[RunHook]] = {
    hook.conn_type: hook for hook in (SnapLogicHook, AxiomHook, VectorShiftHook, BctrlHook)
}
COMMON = {"seal_key": "new key, old:key/é", "timeout": 7.5, "verify": False, "proxies": "http://u:p@proxy:3128"}
ODD = "p@ss:w/rd?#%&+ e"

ROWS: dict[str, Row] = {
    "snaplogic": {
        "login": "ops@acme.example",
        "extra": {
            **COMMON,
            "org": "Acme & Söhne",
            "task_token": ODD,
            "task_hosts": "https://plex.example.com:8081, https://feed.example.com",
            "dashboard_url": "https://elastic.snaplogic.com/sl/dashboard.html?o={org}#{ruuid}",
        },
    },
    "axiom": {"extra": COMMON},
    "vectorshift": {"extra": COMMON},
    "bctrl": {"extra": {**COMMON, "api": "browsers", "subaccount_id": "007"}},
}
HOSTS = [
    "",
    "gateway.example.com",
    "gateway.example.com:8443",
    "gateway.example.com/path/to/it",
    "http://127.0.0.1:8080",
    "http://127.0.0.1:8080/path/to/it",
    "https://gateway.example.com",
]


def access_of(conn: StoredConnection | TaskConnection) -> Access:
    """Return what a hook makes of a connection."""
    return HOOKS[conn.conn_type].access_of(conn, conn.extra_dejson)  # type: ignore[arg-type]


def uri_by_hand(row: Row) -> str:
    """Write a URI as Airflow's documentation shows it: the port behind the host, then the path."""
    scheme, _, rest = row["host"].rpartition("://")
    address = urlsplit(f"//{rest}")
    login = f"{quote(row.get('login', ''), safe='')}:{quote(row['password'], safe='')}"
    protocol = f"{scheme}://" if scheme else ""
    path = quote(address.path.strip("/"), safe="")
    return f"{row['conn_type']}://{protocol}{login}@{address.netloc}/{path}?{urlencode(row['extra'])}"


def from_uri(uri: str) -> TaskConnection:
    if TaskConnection is StoredConnection:  # Airflow 2
        return TaskConnection(conn_id="spelt", uri=uri)
    return TaskConnection.from_uri(uri, conn_id="spelt")


def as_json(row: Row) -> str:
    return json.dumps(row)


SPELLINGS: dict[str, Callable[[Row], StoredConnection | TaskConnection]] = {
    "task, JSON": lambda row: TaskConnection.from_json(as_json(row), conn_id="spelt"),
    "task, URI": lambda row: from_uri(uri_by_hand(row)),
    "stored, fields": lambda row: StoredConnection(conn_id="spelt", **row),
    "stored, URI": lambda row: StoredConnection(conn_id="spelt", uri=uri_by_hand(row)),
    "stored, URI as Airflow writes it": lambda row: StoredConnection(
        conn_id="spelt", uri=StoredConnection(conn_id="spelt", **row).get_uri()
    ),
    "task, URI as Airflow writes it": lambda row: from_uri(StoredConnection(conn_id="spelt", **row).get_uri()),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("conn_type", ROWS)
def test_every_spelling_of_a_connection_gives_the_same_access(conn_type: str, host: str, spelling: str) -> None:
    row = {"conn_type": conn_type, "host": host, "password": ODD, **ROWS[conn_type]}
    wanted = access_of(StoredConnection.from_json(as_json(row), conn_id="spelt"))
    assert access_of(SPELLINGS[spelling](row)) == wanted
    assert wanted.endpoint.timeout == 7.5
    assert wanted.endpoint.verify is False
    assert wanted.endpoint.proxies == {"http": COMMON["proxies"], "https": COMMON["proxies"]}


@pytest.mark.parametrize("conn_type", ROWS)
def test_a_port_of_its_own_means_the_same_as_one_in_the_host(conn_type: str) -> None:
    row = {"conn_type": conn_type, "password": ODD, **ROWS[conn_type]}
    apart = StoredConnection(conn_id="spelt", host="http://127.0.0.1/path", port=8080, **row)
    together = StoredConnection(conn_id="spelt", host="http://127.0.0.1:8080/path", **row)
    assert access_of(apart) == access_of(together)
