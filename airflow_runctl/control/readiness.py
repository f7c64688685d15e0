"""Loads what a stop needs before it is needed, so that none is late for an import in a process that has just begun.

An import in the event loop of the triggerer would hold up all triggers of the process: there it is done in a thread.
What the connection needs (its certificates, the key of its seal) is made when a run's handle is opened.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final
from weakref import WeakSet

from airflow_runctl.compat import Channel, load_channel
from airflow_runctl.control.recording import quietly
from airflow_runctl.control.records import AUDIT_KEY
from airflow_runctl.hooks.base import ENTRY_POINTS, Access, hook_class
from airflow_runctl.runs import TaskKey

MODULES: Final = (
    "airflow_runctl.transport.aio",
    "certifi",
    "cryptography.fernet",
    "cryptography.hazmat.primitives.kdf.scrypt",
    "encodings.idna",
)

_asked: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
_asking: set[asyncio.Task[None]] = set()


@cache
def load() -> None:
    """Import all of it, once in a process. It blocks."""
    for name in MODULES:
        import_module(name)
    load_channel()
    for entry in entry_points(group=ENTRY_POINTS):
        with suppress(Exception):  # that a vendor's package is broken is for the runs of that vendor to say
            hook_class(entry.name)


async def loaded() -> None:
    """Return when all of it is imported, or cannot be, which whoever needs it will say; the loop goes on meanwhile."""
    with suppress(Exception):
        await asyncio.to_thread(load)


async def make_ready(access: Access) -> None:
    """Read the certificates that the requests of a connection need; the loop goes on meanwhile."""
    if access.endpoint.base_url.startswith("https:") and access.endpoint.tls_if_ready() is None:
        await asyncio.to_thread(access.endpoint.tls)


def ask_airflow_something(channel: Channel, where: TaskKey) -> None:
    """Let a triggerer's supervisor load what it answers with: at the first question it does so for seconds.

    Once for each event loop, and nobody waits for the answer.
    """
    loop = asyncio.get_running_loop()
    if loop in _asked:
        return
    _asked.add(loop)
    task = loop.create_task(quietly("ask Airflow before the first record", channel.get(AUDIT_KEY, where)))
    _asking.add(task)
    task.add_done_callback(_asking.discard)
