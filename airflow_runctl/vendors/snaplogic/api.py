"""How SnapLogic's public API is called and read: requests, the envelope of an answer, one run, the list of runs.

What starts runs (``trigger.py``), what is beside runs (``org.py``) and the vendor itself (``vendor.py``) stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import BadAnswer, ConnectionSetupError, RunctlError, VendorError
from airflow_runctl.runs import RunState, RunStatus
from airflow_runctl.vendors.base import Effect, Flow, HttpRequest, HttpResponse, Vendor, path, vendor_error
from airflow_runctl.vendors.snaplogic.answers import STATES, entry_id, failure_text, reason_of

PUBLIC: Final = ("api", "1", "rest", "public")

STATUS_HEADER: Final = "x-sl-statuscode"

PAGE: Final = 1000
MOST_RUNS: Final = 50 * PAGE
MOST_PAGES: Final = 500
"""How many runs of one state are read, in how many pages; a list that goes on behind them is an error."""

SETTLING_TIME: Final = 4.0
"""Seconds. Longer than the 3 s that SnapLogic's own library waits before it reads a run that it has made, and short
enough for a run to be known before Airflow's SIGKILL, 5 s after SIGTERM."""

ENTRY_KEYS: Final[Mapping[str, str]] = {
    "state": "state",
    "invoker": "invoker",
    "pipe_name": "label",
    "project_path": "path_id",
    "user_id": "user_id",
}
"""Filter of the list to the key of an entry that shows it."""


@dataclass(frozen=True, slots=True)
class SnapLogicApi(Vendor):
    """SnapLogic's public API for one org, as far as it is only read.

    :param org: the org (environment).
    :param headers: the account's ``Authorization`` header, for the public API.
    :param task_headers: the ``Authorization`` header for Triggered Tasks.
    :param base_url: base URL of the control plane.
    :param task_hosts: further base URLs (a Snaplex, a FeedMaster) that a task's full URL may begin with.
    :param dashboard_url: template of a run's page; takes ``{org}`` and ``{ruuid}``.
    :param uses_basic: whether the account logs in with Basic; only for the hint in an error.
    :param account: who logs in, for messages.
    :param settling_time: seconds for which a run has to stay the only one in the list before it is taken for ours.
    """

    name: ClassVar[str] = "snaplogic"
    label: ClassVar[str] = "SnapLogic"
    states: ClassVar[Mapping[str, RunState]] = STATES
    failed_may_mean_stopped: ClassVar[bool] = False

    org: str
    headers: Mapping[str, str] = field(repr=False)
    task_headers: Mapping[str, str] = field(repr=False)
    base_url: str = ""
    task_hosts: tuple[str, ...] = ()
    dashboard_url: str | None = None
    uses_basic: bool = True
    account: str = ""
    settling_time: float = SETTLING_TIME

    # -- one run and the list of runs ------------------------------------------------------------------

    def get_run(self, ruuid: str) -> Flow[RunStatus]:
        """Look at the run with this runtime id."""
        fields = yield from self._details(ruuid, "summary")
        word = fields.get("state")
        if not isinstance(word, str):
            raise BadAnswer(f"SnapLogic's answer about run {ruuid} has no state.")
        state = self.state_of(word)
        message = failure_text(fields)
        if state is RunState.FAILED and message is None:
            try:
                message = failure_text((yield from self._details(ruuid, "detail")))
            except RunctlError:
                message = None
        return RunStatus(state, word, message)

    def _details(self, ruuid: str, level: str) -> Flow[Mapping[str, Any]]:
        response = yield self.request("GET", "runtime", self.org, ruuid, query={"level": level})
        fields = self.envelope(response)
        if not isinstance(fields, Mapping):
            raise BadAnswer(f"SnapLogic's answer about run {ruuid} has no response_map: {response.excerpt()!r}")
        return fields

    def list_runs(
        self,
        hear: Callable[[HttpResponse], None] | None = None,
        most_pages: int | None = None,
        /,
        **filters: str | int | None,
    ) -> Flow[list[Mapping[str, Any]]]:
        """List runs, all pages; filters that the server ignored are applied again here.

        :param hear: gets each answer.
        :param most_pages: read no more of them, and leave out what is behind; ``None`` reads all.
        :param filters: ``state``, ``invoker``, ``pipe_name``, ``project_path``, ``last_hours``, ``user_id`` ...

        Source: https://docs.snaplogic.com/public-apis/get-runtime-org.html
        """
        query = {key: str(value) for key, value in filters.items() if value is not None}
        found: dict[str, Mapping[str, Any]] = {}
        offset = 0
        for number in range(1, MOST_PAGES + 1):
            response = yield self.request(
                "GET", "runtime", self.org, query={**query, "limit": str(PAGE), "offset": str(offset)}
            )
            if hear is not None:
                hear(response)
            page = self.envelope(response)
            entries = page.get("entries") if isinstance(page, Mapping) else None
            if not isinstance(entries, list):
                raise BadAnswer(f"SnapLogic's list of runs has no entries: {response.excerpt()!r}")
            fresh = {entry_id(entry): entry for entry in entries if isinstance(entry, Mapping)}
            more = bool(fresh.keys() - found.keys())
            found.update(fresh)
            offset += len(entries)
            if not more or number == most_pages or not _goes_on(page, len(entries), offset):
                return [entry for entry in found.values() if _matches(entry, filters)]
            if offset >= MOST_RUNS:
                break
        raise BadAnswer(f"SnapLogic's list of runs goes on after {offset} of them; the rest was not read.")

    # -- names -----------------------------------------------------------------------------------------

    def task_segments(self, task_path: str) -> list[str]:
        """Return ``[org, space, project, task]`` of a task path with or without its org."""
        parts = [part for part in task_path.split("/") if part]
        if parts and parts[0] == self.org:
            del parts[0]
        if len(parts) < 2:
            raise ConnectionSetupError(
                f"task_path {task_path!r} names no task: it has the form /org/space/project/task."
            )
        return [self.org, *parts]

    # -- envelope ------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        *segments: str,
        effect: Effect = Effect.READ,
        query: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> HttpRequest:
        """Return a request to the public API."""
        where = path(*PUBLIC, *segments)
        return HttpRequest(method, where, effect, query=query or {}, headers=self.headers, json=json)

    def envelope(self, response: HttpResponse) -> Any:
        """Return ``response_map``; an answer is good only if all three status codes are.

        The HTTP status, ``http_status_code`` in the body and the header ``X-SL-StatusCode`` may differ.
        """
        body = response.json_or_none()
        codes = [response.status, response.headers.get(STATUS_HEADER)]
        if isinstance(body, Mapping):
            codes.append(body.get("http_status_code"))
        for code in codes:
            if (number := _code(code)) is not None and not 200 <= number < 300:
                raise self._error(number, response)
        if body is None and response.body.strip():
            response.json()  # raises: the answer is not JSON
        return body.get("response_map") if isinstance(body, Mapping) else None

    def _error(self, status: int, response: HttpResponse) -> VendorError:
        hint = ""
        if status == 403 and self.uses_basic:
            hint = (
                " Basic authentication may be switched off for the org (then every call answers 403):"
                " use auth=jwt; or the account lacks the right."
            )
        elif status in {401, 403}:
            hint = " Check the login of the connection, and the account's right to this."
        elif status == 404:
            hint = " No such run or org, or it is hidden from this account."
        return vendor_error(status, f"SnapLogic answered HTTP {status}: {reason_of(response)}.{hint}", response)


def _goes_on(page: Mapping[str, Any], count: int, read: int) -> bool:
    """Return True if a list has more pages: by its ``total``, else while pages are full."""
    total, limit = page.get("total"), page.get("limit")
    if isinstance(total, int):
        return read < total
    return count >= (limit if isinstance(limit, int) and 0 < limit < PAGE else PAGE)


def _matches(entry: Mapping[str, Any], filters: Mapping[str, str | int | None]) -> bool:
    return all(filters.get(name) is None or entry.get(key) in (None, filters[name]) for name, key in ENTRY_KEYS.items())


def _code(value: Any) -> int | None:
    """Return a status code, given as a number or as its digits; anything else says nothing."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599 else None
