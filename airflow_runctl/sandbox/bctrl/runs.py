"""What bctrl's two generations share: how their runs behave, and the small conventions of the API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from airflow_runctl.sandbox.runs import Run
from airflow_runctl.sandbox.vendor import Behaviour, Settings
from airflow_runctl.sandbox.wire import Answer, Call, Refused, as_json, integer

SPACE: Final = "spc-default"
MAX_WAIT: Final = 60
DEFAULT_LIMIT: Final = 20  # [unknown]
MAX_LIMIT: Final = 100  # [unknown]


@dataclass(frozen=True, slots=True, kw_only=True)
class BctrlBehaviour(Behaviour):
    """How the runs of one alias (generation W), one browser name or one agent (generation B) behave.

    :param run_seconds: none by default: a browser lives until something stops it.
    :param end: empty is the good end: ``stopped`` for a runtime, ``ended`` for a run, ``succeeded`` for a
        task.
    :param queue_seconds: until a run of a browser is admitted (``currentRun`` is null before) or a task
        leaves queued.
    :param start_seconds: spent ``starting``, without connections.
    :param awaiting_input_after_seconds: a task stops there and asks.
    :param gone_after_end: generation W: an ephemeral runtime cannot be read once it has stopped.
    """

    run_seconds: float | None = None
    start_seconds: float = 0.1
    awaiting_input_after_seconds: float | None = None
    gone_after_end: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BctrlSettings(Settings):
    """:param workspaces_retired: generation W answers 404, as the live service probably does. [inferred]"""

    workspaces_retired: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class BctrlRun(Run):
    """A workspace runtime, the run of a browser, or an agent's task."""


Item = TypeVar("Item")


def stamp(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def wait_seconds(call: Call) -> int:
    """[code] ``wait`` is in seconds, up to 60."""
    return integer(call, "wait", 0, 0, MAX_WAIT)


def body_of(call: Call) -> dict[str, Any]:
    """Return the JSON body, or nothing if there is none.

    A JSON content type with an empty body is refused, as many servers do [inferred]: the contract of the
    stops has no body, the documentation's samples send ``{}``.
    """
    if call.body:
        return call.json_object()
    if call.content_type == "application/json":
        raise Refused(400, "Content-Type is application/json but the body is empty")
    return {}


def page(call: Call, items: Sequence[Item], key: Callable[[Item], str], show: Callable[[Item], Any]) -> Answer:
    """[code] Answer with one page of ``items``, given oldest first: newest first unless ``order=asc``.

    The cursor names the last item shown, so a set that grows while it is paged neither repeats nor skips.
    """
    limit = integer(call, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    ordered = list(items) if call.query.get("order") == "asc" else list(reversed(items))
    cursor = call.query.get("cursor")
    if cursor:
        keys = [key(item) for item in ordered]
        ordered = ordered[keys.index(_after(cursor, keys)) + 1 :]
    shown, more = ordered[:limit], len(ordered) > limit
    next_cursor = base64.urlsafe_b64encode(key(shown[-1]).encode()).decode() if more else None
    return as_json({"data": [show(item) for item in shown], "hasMore": more, "nextCursor": next_cursor})


def _after(cursor: str, keys: Sequence[str]) -> str:
    try:
        last = base64.urlsafe_b64decode(cursor).decode()
    except (binascii.Error, ValueError):
        last = ""
    if last not in keys:
        raise Refused(400, "the cursor is not valid")
    return last
