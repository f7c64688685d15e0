"""Seals and opens handles: whoever can stop a run can open its handle, nobody else.

A handle lies in XComs, trigger arguments and callbacks, all of which others can read and write. What is
acted on is only what the sealed token holds: Fernet (AES and HMAC) under a key derived from the
connection with HKDF. No Fernet key of Airflow's is needed on the worker.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from airflow_runctl.exceptions import HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, Ownership, TaskKey

PURPOSE: Final = b"airflow-runctl handle v1"

Handle = Mapping[str, Any]
"""The public form of a run, plain JSON: ``vendor``, ``conn_id``, ``run_id``, ``url``, ``started_at`` and ``token``."""


def handle_of(run: ExternalRun, access: Access) -> dict[str, Any]:
    """Return the public form of ``run``, with everything sealed in its ``token``."""
    content = {
        "vendor": run.vendor,
        "conn_id": run.conn_id,
        "run_id": run.run_id,
        "url": run.url,
        "started_at": run.started_at.isoformat(),
        "ids": dict(run.ids),
        "owner": _owner_out(run.owner),
        "fingerprint": run.fingerprint,
    }
    token = _seal(access.seal_keys).encrypt(json.dumps(content).encode()).decode("ascii")
    shown = ("vendor", "conn_id", "run_id", "url", "started_at")
    return {**{name: content[name] for name in shown}, "token": token}


def open_handle(handle: Handle, access: Access, *, found_at: TaskKey | None = None) -> ExternalRun:
    """Return the run that ``handle`` stands for.

    :param found_at: the task instance that the handle was found at; its token must name the same.
    :raises HandleError: if the token does not open, or names another connection or task instance.
    """
    from cryptography.fernet import InvalidToken

    name = describe(handle)
    try:
        content = json.loads(_seal(access.seal_keys).decrypt(str(handle.get("token")).encode()))
        run = _run_in(content)
    except (InvalidToken, KeyError, ValueError, TypeError) as error:
        raise HandleError(
            f"The handle of {name} does not open with connection {access.conn_id!r}: it was altered, or the "
            "connection's credential has changed since (then add the old one to its extra 'seal_key'). Nothing "
            "was stopped; the run may be alive."
        ) from error
    if run.vendor != access.vendor.name or run.conn_id != access.conn_id:
        raise HandleError(
            f"The handle of {name} was sealed for connection {run.conn_id!r} ({run.vendor}), not for "
            f"{access.conn_id!r}. Nothing was stopped."
        )
    if found_at is not None and (run.owner is None or run.owner.key != found_at):
        raise HandleError(
            f"The handle of {name} was found at task instance {found_at}, but belongs to "
            f"{run.owner.key if run.owner else 'none'}. Nothing was stopped."
        )
    return run


def describe(handle: Handle) -> str:
    """Return the words for a run that a message can use, from a handle that need not be true."""
    return f"{handle.get('vendor')!s} run {handle.get('run_id')!s}"[:200]


def _owner_out(owner: Owner | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    key = owner.key
    return {
        "dag_id": key.dag_id,
        "run_id": key.run_id,
        "task_id": key.task_id,
        "map_index": key.map_index,
        "try_number": owner.try_number,
        "ownership": owner.ownership.value,
    }


def _run_in(content: Mapping[str, Any]) -> ExternalRun:
    owner = content["owner"]
    return ExternalRun(
        vendor=content["vendor"],
        conn_id=content["conn_id"],
        run_id=content["run_id"],
        url=content["url"],
        started_at=datetime.fromisoformat(content["started_at"]),
        ids=content["ids"],
        owner=owner
        and Owner(
            TaskKey(owner["dag_id"], owner["run_id"], owner["task_id"], owner["map_index"]),
            owner["try_number"],
            Ownership(owner["ownership"]),
        ),
        fingerprint=content["fingerprint"],
    )


@lru_cache(maxsize=64)
def _seal(keys: tuple[str, ...]) -> Any:
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(_derive(key)) for key in keys])


def _derive(text: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(text.encode())
    return base64.urlsafe_b64encode(key)
