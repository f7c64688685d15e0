"""``runctl test`` and ``runctl sandbox``: trying a connection, and trying without a vendor."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from airflow_runctl.cli.exit_codes import ExitCode


def test_connection(arguments: argparse.Namespace) -> int:
    """Reach the vendor of a connection, and say what was seen."""
    from airflow_runctl.cli.reach import local_channel
    from airflow_runctl.control.by_hand import ELSEWHERE
    from airflow_runctl.exceptions import ConnectionUnreadable
    from airflow_runctl.hooks.base import hook_class

    try:
        conn, _ = asyncio.run(local_channel().connection(arguments.conn_id))
    except Exception as error:
        named = f"Connection {arguments.conn_id!r} cannot be read here ({type(error).__name__})."
        raise ConnectionUnreadable(f"{named} {ELSEWHERE}") from error
    worked, said = hook_class(conn.conn_type)(arguments.conn_id).test_connection()
    print(said)
    return ExitCode.DONE if worked else ExitCode.FAILED


def serve_sandbox(arguments: argparse.Namespace) -> int:
    """Become the sandbox: nothing of the package imports it, and it ends by the signals that this process gets."""
    command = [sys.executable, "-m", "airflow_runctl.sandbox", "--host", arguments.host, "--port", str(arguments.port)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (a module of this package, and no shell)
