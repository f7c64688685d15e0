"""``runctl test`` and ``runctl sandbox``: trying a connection, and trying without a vendor."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from airflow_runctl.cli.exit_codes import ExitCode
from airflow_runctl.runs import printable


def test_connection(arguments: argparse.Namespace) -> int:
    """Reach the vendor of a connection, and say what was seen."""
    from airflow_runctl.cli.reach import local_channel
    from airflow_runctl.hooks.base import hook_class

    try:
        conn, _ = asyncio.run(local_channel().connection(arguments.conn_id))
    except Exception as error:
        return _test_over_the_api(arguments, error)
    worked, said = hook_class(conn.conn_type)(arguments.conn_id).test_connection()
    print(said)
    return ExitCode.DONE if worked else ExitCode.FAILED


def _test_over_the_api(arguments: argparse.Namespace, unreadable: Exception) -> int:
    """Let the API server, or a worker, reach the vendor.

    :raises ConnectionUnreadable: if there is nobody to ask.
    """
    from airflow_runctl.cli.listing import airflow_of
    from airflow_runctl.cli.over_api import OverApi, over_the_api
    from airflow_runctl.cli.screen import say
    from airflow_runctl.control.by_hand import ELSEWHERE
    from airflow_runctl.exceptions import AirflowRefused, ConnectionUnreadable
    from airflow_runctl.rest.calls import awaited
    from airflow_runctl.rest.runctl_api import LONGEST_WAIT, NoApi, RunctlApi

    closed = f"Connection {arguments.conn_id!r} cannot be read here ({type(unreadable).__name__})."
    try:
        rest = airflow_of(arguments)
    except AirflowRefused as error:
        raise ConnectionUnreadable(f"{closed} {ELSEWHERE} {error}") from error
    over = OverApi(rest, RunctlApi(rest.calls), None, LONGEST_WAIT)

    async def try_it() -> tuple[bool, str]:
        say(over_the_api([arguments.conn_id]))
        body = {"conn_id": arguments.conn_id, "timeout": LONGEST_WAIT}
        answer = await over.api.do("test", body, to=f"test connection {arguments.conn_id}", seconds=LONGEST_WAIT)
        if answer.get("worked") is None:
            answer = await over.awaited_outcome(str(answer.get("dag_run_id")), LONGEST_WAIT)
        return bool(answer.get("worked")), str(answer.get("said"))

    try:
        worked, said = awaited(try_it())
    except NoApi as error:
        raise ConnectionUnreadable(f"{closed} {error} {ELSEWHERE}") from error
    print(printable(said, 1000))
    return ExitCode.DONE if worked else ExitCode.FAILED


def serve_sandbox(arguments: argparse.Namespace) -> int:
    """Become the sandbox: nothing of the package imports it, and it ends by the signals that this process gets."""
    command = [sys.executable, "-m", "airflow_runctl.sandbox", "--host", arguments.host, "--port", str(arguments.port)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (a module of this package, and no shell)
