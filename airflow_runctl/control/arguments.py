"""Which arguments of a start differ from those of an earlier attempt: they are named, their values are not kept.

Of each argument a digest lies in the task state store, which many may read, and an argument may be a password. So all
of them are sealed together, with the key that seals handles; and each is so short that it confirms no guess, even to
whoever opens the seal: of 65,536 values one has the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from airflow_runctl.control.seal import handle_of, open_handle
from airflow_runctl.exceptions import HandleError
from airflow_runctl.hooks.base import Access
from airflow_runctl.runs import ExternalRun

Digests = Mapping[str, str]
"""Name of an argument, or of an item of one (``inputs.day``), to its digest."""

DIGEST: Final = 4
"""Hexadecimal digits of a digest: enough to tell most differences, too few to find a value by."""

ITEMS: Final = 20
"""How many items an argument may have for each of them to be told apart."""

NAMED: Final = 10
"""How many arguments a message names."""

KIND: Final = "arguments"


def digests_of(arguments: Any) -> Digests:
    """Return the digests of what is started; none of what has no names."""
    if not isinstance(arguments, Mapping):
        return {}
    named: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping) and 0 < len(value) <= ITEMS:
            named.update({f"{name}.{item}": inner for item, inner in value.items()})
        else:
            named[str(name)] = value
    return {name: _digest(name, value) for name, value in named.items()}


def sealed(digests: Digests, access: Access) -> str:
    """Return the token that holds ``digests``."""
    ids = {KIND: json.dumps(dict(digests))}
    content = ExternalRun(access.vendor.name, access.conn_id, KIND, None, datetime.now(UTC), ids)
    return str(handle_of(content, access)["token"])


def opened(token: Any, access: Access) -> Digests:
    """Return the digests in a token; none if there is no token, as of 0.1.0, or it does not open."""
    if not isinstance(token, str):
        return {}
    try:
        names = {"vendor": access.vendor.name, "conn_id": access.conn_id, "run_id": KIND}
        ids = open_handle({**names, "token": token}, access).ids
    except HandleError:
        return {}
    digests: Digests = json.loads(ids.get(KIND, "{}"))
    return digests


def differing(ours: Digests, theirs: Digests) -> str:
    """Return the names of what differs, for a message; an empty text if that cannot be told."""
    if not ours or not theirs:
        return ""
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name if name.isprintable() else repr(name) for name in names[:NAMED]) + more


def _digest(name: str, value: Any) -> str:
    text = json.dumps([name, value], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST]
