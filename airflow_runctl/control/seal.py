"""Seals and opens handles: whoever can stop a run can open its handle, nobody else.

A handle lies in XComs, trigger arguments and callbacks, all of which others can read and write. What is
acted on is only what the sealed token holds: Fernet (AES and HMAC) under a key derived from the
connection. No Fernet key of Airflow's is needed on the worker.

A password is short, and whoever reads a handle may try as many as they like. So the derivation is slow and takes
memory (scrypt), with the connection's id and type as its salt; it is done once per process and connection. Tokens of
0.1.0, whose key HKDF made, are opened still, and made no more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from airflow_runctl.exceptions import ConnectionSetupError, HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun, Owner, Ownership, TaskKey, printable

VERSION: Final = "2"
"""First character of a token; the Fernet token follows. One of 0.1.0 is a Fernet token alone, which begins with g."""

PURPOSE: Final = b"airflow-runctl handle v2"
PURPOSE_OF_0_1_0: Final = b"airflow-runctl handle v1"

COST: Final = {"n": 2**15, "r": 8, "p": 1}
"""Of scrypt: 32 MiB and 0.09 s on the machine that docs/reference/connections.md names."""

MOST_KEYS: Final = 256
"""How many derived keys a process keeps."""

Handle = Mapping[str, Any]
"""The public form of a run, plain JSON: ``vendor``, ``conn_id``, ``what``, ``run_id``, ``url``, ``started_at`` and
``token``."""


def handle_of(run: ExternalRun, access: Access) -> dict[str, Any]:
    """Return the public form of ``run``, with everything sealed in its ``token``."""
    content = {
        **shown_of(run),
        "ids": dict(run.ids),
        "owner": _owner_out(run.owner),
        "fingerprint": run.fingerprint,
    }
    if not access.seal_keys:
        raise ConnectionSetupError(
            f"Connection {access.conn_id!r} has neither a credential nor a 'seal_key' in its extra to seal with. "
            "Set 'seal_key' to a long random text."
        )
    token = VERSION + _fernet(access, access.seal_keys[0]).encrypt(json.dumps(content).encode()).decode("ascii")
    return {**shown_of(run), "token": token}


def shown_of(run: ExternalRun) -> dict[str, Any]:
    """Return what a handle shows: plain JSON for people to read, without secrets."""
    return {
        "vendor": run.vendor,
        "conn_id": run.conn_id,
        **({"what": run.what} if run.what is not None else {}),
        "run_id": run.run_id,
        "url": run.url,
        "started_at": run.started_at.isoformat(),
    }


def verified(handle: Handle, run: ExternalRun) -> dict[str, Any]:
    """Return a handle that was opened, and shows nothing but what is sealed in it."""
    return {**shown_of(run), "token": handle["token"]}


def open_handle(handle: Handle, access: Access, *, found_at: TaskKey | None = None) -> ExternalRun:
    """Return the run that ``handle`` stands for.

    :param found_at: the task instance that the handle was found at; its token must name the same.
    :raises HandleError: if the token does not open, or names another connection or task instance.
    """
    return _opened(handle, access, _fernets(handle.get("token"), access), found_at)


def _opened(handle: Handle, access: Access, fernets: Iterable[Any], found_at: TaskKey | None) -> ExternalRun:
    """Return the same, if one of ``fernets`` opens it."""
    try:
        run = _run_in(json.loads(_decrypted(handle.get("token"), fernets)))
    except (KeyError, ValueError, TypeError) as error:
        raise HandleError(
            f"The handle of {describe(handle)} does not open with connection {access.conn_id!r}: it was altered, "
            "sealed for another connection, or the connection's credential has changed since (then add the old one to "
            "its extra 'seal_key'). Nothing was stopped; the run may be alive."
        ) from error
    if run.vendor != access.vendor.name or run.conn_id != access.conn_id:
        raise HandleError(
            f"The handle of {name_of(run)} was sealed for connection {run.conn_id!r} ({run.vendor}), not for "
            f"{access.conn_id!r}. Nothing was stopped."
        )
    if found_at is not None and (run.owner is None or run.owner.key != found_at):
        raise HandleError(
            f"The handle of {name_of(run)} was found at task instance {found_at}, but belongs to "
            f"{run.owner.key if run.owner else 'none'}. Nothing was stopped."
        )
    return run


async def aopen_handle(handle: Handle, access: Access, *, found_at: TaskKey | None = None) -> ExternalRun:
    """Return the same in an event loop, which the derivation of a key must not hold up.

    A thread is needed only until the newest key is derived, and for handles that an older one sealed.
    """
    newest = _derived.get(_digest(access, access.seal_keys[0])) if access.seal_keys else None
    if newest is not None and _is_of_today(handle.get("token")):
        try:
            return _opened(handle, access, (newest,), found_at)
        except HandleError:
            if len(access.seal_keys) == 1:
                raise
    return await asyncio.to_thread(open_handle, handle, access, found_at=found_at)


def describe(handle: Handle) -> str:
    """Return the words for a run that a message can use, from a handle that was not opened and need not be true."""
    return f"{words_of(handle)} (unverified)"


def words_of(handle: Handle) -> str:
    """Return the same from a handle that was opened, see :func:`verified`."""
    return f"{printable(handle.get('vendor'))} run {printable(handle.get('run_id'))}"


def name_of(run: ExternalRun) -> str:
    """Return the words for a run that a message can use."""
    return f"{run.vendor} run {run.run_id}"


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
        what=content.get("what"),
    )


def _decrypted(token: object, fernets: Iterable[Any]) -> bytes:
    """Return what a token holds; only exactly what was made is a token.

    :raises ValueError: if it is none, or nothing opens it.
    """
    from cryptography.fernet import InvalidToken

    if not isinstance(token, str):
        raise ValueError("no text")
    sealed = token.removeprefix(VERSION)
    if not _is_canonical(sealed):
        raise ValueError("not base64 as it was made")
    for fernet in fernets:
        try:
            content: bytes = fernet.decrypt(sealed.encode("ascii"))
        except InvalidToken:
            continue
        return content
    raise ValueError("opened by no key")


def _is_canonical(text: str) -> bool:
    """Return False for base64 with spaces, more padding, or bits that nobody wrote: decoders let these pass."""
    try:
        return base64.urlsafe_b64encode(base64.urlsafe_b64decode(text.encode("ascii"))).decode("ascii") == text
    except (binascii.Error, UnicodeEncodeError):
        return False


def _is_of_today(token: object) -> bool:
    """Return False for a token of 0.1.0."""
    return isinstance(token, str) and token.startswith(VERSION)


def _fernets(token: object, access: Access) -> Iterator[Any]:
    """Yield what may open a token, each only if the one before does not: a derivation takes its time."""
    made_of = partial(_fernet, access) if _is_of_today(token) else _fernet_of_0_1_0
    return map(made_of, access.seal_keys)


_derived: dict[bytes, Any] = {}
"""The digest of what a key is derived from, to the Fernet of that key."""

_digest_key: Final = os.urandom(32)
"""Makes these digests worth nothing outside this process."""

_deriving: Final = threading.Lock()
LONGEST_WAIT: Final = 1.0
"""Seconds for which another thread's derivation is waited for: a signal may have interrupted it, and come here."""


def _fernet(access: Access, text: str) -> Any:
    digest = _digest(access, text)
    waited = _deriving.acquire(timeout=LONGEST_WAIT)
    try:
        if digest not in _derived:
            if len(_derived) >= MOST_KEYS:
                _derived.clear()
            _derived[digest] = _fernet_of(text, _salt(access))
        return _derived[digest]
    finally:
        if waited:
            _deriving.release()


def _fernet_of(text: str, salt: bytes) -> Any:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Fernet(base64.urlsafe_b64encode(Scrypt(salt=salt, length=32, **COST).derive(text.encode())))


def _salt(access: Access) -> bytes:
    return b"\0".join((PURPOSE, access.vendor.name.encode(), access.conn_id.encode()))


def _digest(access: Access, text: str) -> bytes:
    return hashlib.blake2b(b"\0".join((_salt(access), text.encode())), key=_digest_key).digest()


def _fernet_of_0_1_0(text: str) -> Any:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE_OF_0_1_0).derive(text.encode())
    return Fernet(base64.urlsafe_b64encode(key))
