"""The viewer URL that axiom.ai answers a trigger with: a credential, from which ``pid`` and ``pw`` of a run are read.

Source: https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from airflow_runctl.exceptions import InvalidIdentifier


@dataclass(frozen=True, slots=True)
class Viewer:
    """What a viewer URL holds. Whoever has it can watch the run and stop it.

    :param pid: two-digit number of the pod group, leading zero kept.
    :param pw: the run's password.
    :param task_id: the run's task id, if the URL has it; it is no secret.
    :raises InvalidIdentifier: if ``pid`` is anything else. The message does not repeat it: it may be the whole link.
    """

    pid: str
    pw: str = field(repr=False)
    task_id: str | None = None

    def __post_init__(self) -> None:
        if not _PID.fullmatch(self.pid):
            raise InvalidIdentifier(
                f"pid must be two digits, as text and with a leading zero ('07'); what was given has {len(self.pid)} "
                "characters and is not that. In the viewer URL it is the last two of the four digits behind c-, as in "
                "c-0007-v4-proxy; or give viewer_url instead of pid and pw. Nothing was asked of axiom.ai."
            )


_PID: Final = re.compile(r"[0-9]{2}")
_POD: Final = re.compile(r"(?:^|[^a-z0-9])c-[0-9]{2}([0-9]{2})(?![0-9])", re.IGNORECASE)


def parse_viewer_url(url: str) -> Viewer:
    """Return ``pid`` and ``pw`` of a viewer URL, in any of the shapes that were seen.

    The link is a page whose query names the pod's ``host`` and a ``password``; the documentation shows it
    cut off at the host, without scheme and with ``&`` in place of ``?``. ``pid`` is the last two of the four
    digits behind ``c-`` in the pod's host (not "the last two digits of the host name": that may end in a
    proxy's version number).

    Source: https://axiom.ai/docs/developer-hub/api/run-automations/stop-a-run

    :raises InvalidIdentifier: if the URL has no password, or no pid can be read from it. The message does
        not repeat the URL.
    """
    host, _, query = re.sub(r"[?#]", "&", url.strip()).partition("&")
    values = dict(pair.partition("=")[::2] for pair in query.split("&") if "=" in pair)
    pw = unquote(values.get("password", ""))
    if not pw:
        raise InvalidIdentifier(
            "The viewer URL has no password. Give the whole link that axiom.ai answered the trigger with "
            "(key 'OPEN LINK IN BROWSER'), or give pid and pw instead."
        )
    pod = _POD.search(unquote(values.get("host", ""))) or _POD.search(unquote(host))
    if pod is None:
        raise InvalidIdentifier(
            "No pid can be read from this viewer URL: its host has no c- followed by four digits, as in "
            "c-0007-v4-proxy. Give pid (the last two of the four digits, as text, with a leading zero) and pw "
            "(the value of 'password' in the link) instead."
        )
    return Viewer(pod[1], pw, unquote(values["taskId"]) if values.get("taskId") else None)
