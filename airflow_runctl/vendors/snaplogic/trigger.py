"""SnapLogic's Triggered Tasks: a call of a task's URL starts a run, and may stay open as long as that runs.

Source: https://docs.snaplogic.com/manager/triggered-tasks.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    StartRefused,
    StartUncertain,
    TransportError,
    VendorError,
)
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Open,
    Owned,
    Pause,
    PendingCall,
    Search,
    Started,
    StartPlan,
    bearer,
    path,
)
from airflow_runctl.vendors.snaplogic.answers import LIVE_STATES, OVER_STATES, entry_id, reason_of, started
from airflow_runctl.vendors.snaplogic.api import SnapLogicApi
from airflow_runctl.vendors.snaplogic.clock import VendorClock
from airflow_runctl.vendors.snaplogic.lineup import Lineup

START_REFUSED: Final = frozenset({400, 401, 403, 404, 405, 409, 429})
"""Answers of a Triggered Task's URL that surely mean that no run was made."""

FEED: Final = ("api", "1", "rest", "slsched", "feed")

RUUID_HEADER: Final = "x-snapi-pipeline-ruuid"

LOOK_BACK_HOURS: Final = 1080
"""The widest window that the list takes (45 days): a narrow one hides runs that began before it."""

TRIGGER_TIMEOUT: Final = 960.0
"""Seconds. SnapLogic itself cuts a trigger call after 15 minutes."""

ANSWER_WAIT: Final = 1.0
"""Seconds in which a trigger call may answer before the list is asked for its run."""

LOOK_EVERY: Final = 1.0
AMBIGUOUS_WAIT: Final = 30.0
"""Seconds for which an open call may still say which of several runs is its own."""

LOST_CALL_LOOKS: Final = 20
"""How often the list is asked for the run of a call that ended without naming it, while none comes up."""

LOST_LOOKS: Final = 3
"""How many of these may fail; each has been tried for as long as the driver's patience lasts."""

UNREAD: Final = (TransportError, BadAnswer, VendorError)
"""A list that could not be read says nothing of a run that may be alive."""

TOKEN_KEY: Final = "bearer_token"  # noqa: S105
"""Key of a task's URL that carries its token. It would stand in every log on the way: it travels in a header."""

SAFE_WAY: Final = (
    "To be safe, let the pipeline return its own id early (the expression pipe.ruuid in its output, and "
    "returns_ruuid=True here), or give the tasks that start it a pool of one slot that does not count deferred tasks, "
    "with deferrable=True."
)


@dataclass(frozen=True, slots=True)
class TriggeredTask:
    """A Triggered Task and what it is called with.

    :param task_path: ``/org/space/project/task``; the org may be left out.
    :param task_url: the task's full URL instead, as the Manager shows it.
    :param parameters: pipeline parameters; they travel in the query.
    :param body: JSON for the pipeline's open input.
    :param method: HTTP method.
    :param pipeline_name: the pipeline that the task runs, to find its run by.
    :param project_path: ``/org/space/project`` of that pipeline; the task's own by default.
    :param returns_ruuid: the pipeline returns its own id (``pipe.ruuid``) early, or in the end.
    :param token: the task's own token, instead of the connection's; one in ``task_url`` is taken out of it.
    """

    task_path: str | None = None
    task_url: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)
    method: str = "POST"
    pipeline_name: str | None = None
    project_path: str | None = None
    returns_ruuid: bool = False
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Trigger:
    """The flows that start a run.

    :param api: SnapLogicApi, for requests and lists.
    """

    api: SnapLogicApi = field(repr=False)

    def plan(self, task: TriggeredTask) -> StartPlan:
        """Plan a new run of a Triggered Task.

        Source: https://docs.snaplogic.com/manager/triggered-tasks.html
        """
        request = self._trigger_request(task)
        search = self._search(task)

        def prepare() -> Flow[Search]:
            clock = VendorClock()
            # Also those that are over: after a lost answer the run is looked for among them too.
            known = yield from self._matching(search, LIVE_STATES + OVER_STATES, clock)
            return {**search, "known": sorted(known), "asked_at": clock.heard_at}

        def start(search: Search) -> Flow[Started]:
            return (yield from self._start(request, search, task.returns_ruuid))

        arguments = {
            "task": task.task_path or without_token(task.task_url or "")[0],
            "parameters": dict(task.parameters),
            "body": task.body,
            "method": task.method,
        }
        alike = None if task.returns_ruuid else search
        return StartPlan(arguments, prepare, start, alike, what=self._what(request))

    def _what(self, request: HttpRequest) -> str:
        """Return the task's path below its org; nothing of its URL's query, which may hold a token."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        return "/".join(parts[parts.index(self.api.org) + 1 :] if self.api.org in parts else parts)

    def _trigger_request(self, task: TriggeredTask) -> HttpRequest:
        query, headers = dict(task.parameters), self.api.task_headers
        base_url: str | None = None
        if task.task_url is not None:
            url, token = without_token(task.task_url)
            own = token or task.token
            headers = bearer(own) if own else headers
            base_url, where = self._allowed(url)
            address = urlsplit(where)
            query = {**dict(parse_qsl(address.query, keep_blank_values=True)), **query}
            where = path(*(unquote(part) for part in address.path.strip("/").split("/")))
        else:
            where = path(*FEED, *self.api.task_segments(task.task_path or ""))
        return HttpRequest(
            task.method.upper(),
            where,
            Effect.START,
            query=query,
            headers=headers,
            json=task.body,
            timeout=TRIGGER_TIMEOUT,
            base_url=base_url,
        )

    def _allowed(self, url: str) -> tuple[str, str]:
        """Split a task's full URL into a base URL that the connection allows, and the rest."""
        for base in (self.api.base_url, *self.api.task_hosts):
            if url.startswith(base.rstrip("/") + "/"):
                return base.rstrip("/"), url[len(base.rstrip("/")) :]
        raise ConnectionSetupError(
            f"The task's URL points to {urlsplit(url).hostname!r}, which is neither the host of the SnapLogic "
            "connection nor one of its 'task_hosts'. The task token is sent to no other host: add the "
            "base URL (https://host:port) to the connection's extra 'task_hosts'."
        )

    def _search(self, task: TriggeredTask) -> Search:
        project = task.project_path
        if project is None and task.task_path is not None:
            project = "/" + "/".join(self.api.task_segments(task.task_path)[:-1])
        return {"pipeline": task.pipeline_name, "project": project}

    def _start(self, request: HttpRequest, search: Search, returns_ruuid: bool) -> Flow[Started]:
        """Call the task's URL once; while the call stays open, look for its run in the list."""
        call = yield Open(request)
        yield Pause(ANSWER_WAIT)
        lineup = Lineup(search, self.api.settling_time, call.opened_at)
        while True:
            try:
                response = call.poll()
            except (TransportError, BadAnswer) as error:
                if isinstance(error, TransportError) and not error.sent:
                    raise
                lineup.end = call.ended_at or lineup.end
                return (yield from self._after_lost_call(lineup, str(error)))
            if response is not None:
                return (yield from self._after_answer(request, response, lineup))
            try:
                ours = yield from self._seen_alone(lineup)
            except UNREAD:
                ours = None  # the call goes on, and ends sometime
            if ours is not None:
                return replace(started(ours), authority=Answer(call))
            if lineup.is_ambiguous(AMBIGUOUS_WAIT) and not returns_ruuid:
                raise _ambiguous(lineup)
            yield Pause(lineup.clock.pause(LOOK_EVERY))

    def _seen_alone(self, lineup: Lineup) -> Flow[str | None]:
        """Return the one run that may be the open call's, once it has stayed the only one for long enough."""
        yield from self._look(lineup, LIVE_STATES)
        if lineup.settled() is None:
            return None
        # One that ended between two looks is a candidate too.
        yield from self._look(lineup, OVER_STATES, whose=True)
        return lineup.settled()

    def _after_answer(self, request: HttpRequest, response: HttpResponse, lineup: Lineup) -> Flow[Started]:
        if ruuid := ruuid_of(response):
            return started(ruuid)
        if response.status in START_REFUSED:
            raise self._refused(request, response)
        outcome = "answered" if response.ok else f"answered HTTP {response.status}"
        lineup.end = response.received_at
        return (yield from self._after_lost_call(lineup, f"the call {outcome} without naming its run"))

    def _after_lost_call(self, lineup: Lineup, why: str) -> Flow[Started]:
        """Find the run of a call that can say nothing more; its run may be over already."""
        unread: list[str] = []
        looks = 0
        while looks < LOST_CALL_LOOKS or lineup.candidates:
            looks += 1
            try:
                yield from self._look(lineup, LIVE_STATES + OVER_STATES, whose=True)
            except UNREAD as error:
                unread.append(f" The list of runs could not be read: {error}")
                if len(unread) == LOST_LOOKS:
                    break
            if (ours := lineup.settled()) is not None:
                return started(ours)
            if lineup.has_settled:
                break
            yield Pause(lineup.clock.pause(LOOK_EVERY))
        if lineup.candidates:
            raise _ambiguous(lineup)
        raise StartUncertain(
            f"SnapLogic was told to start a run, but {why}, and no new run is listed for "
            f"pipeline {lineup.search['pipeline'] or '(any)'} in {lineup.search['project'] or 'the org'}. "
            f"A run may be alive; it was not started again. Look for it in the SnapLogic dashboard. {SAFE_WAY}"
            + "".join(unread[-1:])
        )

    def _look(self, lineup: Lineup, states: Iterable[str], *, whose: bool = False) -> Flow[None]:
        """Look at the list once.

        :param whose: ask whether another task owns a run that is the only one; of several that is asked anyway.
        """
        lineup.see((yield from self._matching(lineup.search, states, lineup.clock)))
        possible = lineup.possible()
        owned = (yield Owned(possible)) if possible and (whose or len(possible) > 1) else frozenset()
        lineup.leave(possible - owned)

    def _refused(self, request: HttpRequest, response: HttpResponse) -> VendorError:
        hints = {
            401: "Check 'task_token' in the extra of the connection: a Triggered Task has a token of its own.",
            403: "Check 'task_token' in the extra of the connection, or the execute right of the account.",
            404: f"No such task as {unquote(request.path)}, or it is hidden from this credential; names are "
            f"case-sensitive, that of the org ({self.api.org}) too.",
            409: "The task does not start a new run while one is active.",
            429: "The org's quota of triggered runs is used up.",
        }
        message = f"SnapLogic refused to start the task (HTTP {response.status}: {reason_of(response)})."
        return StartRefused(f"{message} {hints.get(response.status, '')}".strip(), status=response.status)

    def _matching(
        self, search: Search, states: Iterable[str], clock: VendorClock
    ) -> Flow[dict[str, Mapping[str, Any]]]:
        """Return the triggered runs of the searched pipeline and project in ``states``, each under its id."""
        found: dict[str, Mapping[str, Any]] = {}
        for state in states:
            entries = yield from self.api.list_runs(
                clock.hear,
                state=state,
                invoker="triggered",
                pipe_name=search["pipeline"],
                project_path=search["project"],
                last_hours=LOOK_BACK_HOURS if state in LIVE_STATES else 1,
            )
            found.update({entry_id(entry): entry for entry in entries})
        return found

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that were made since ``search`` was written, living or over."""
        clock = VendorClock()
        lineup = Lineup(search, self.api.settling_time, search.get("asked_at") or float("-inf"), clock=clock)
        lineup.see((yield from self._matching(search, LIVE_STATES + OVER_STATES, clock)))
        found = sorted(lineup.possible())
        runs = []
        for ruuid in found:
            if (made := lineup.made[ruuid]) is None:
                unsaid = f"SnapLogic does not say when run {ruuid} was made; it may be the one."
                raise StartUncertain(unsaid, candidates=tuple(found))
            runs.append(replace(started(ruuid), created_at=clock.here(made)))
        return runs


def without_token(url: str) -> tuple[str, str | None]:
    """Return a task's URL without the token in its query, and the token."""
    if TOKEN_KEY not in url:
        return url, None
    address = urlsplit(url)
    keys = parse_qsl(address.query, keep_blank_values=True)
    query = urlencode([(key, value) for key, value in keys if key != TOKEN_KEY])
    return urlunsplit(address._replace(query=query)), dict(keys).get(TOKEN_KEY)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a trigger call that stays open: it outranks what the list showed.

    :param call: the call.
    """

    call: PendingCall = field(repr=False)

    @property
    def is_open(self) -> bool:
        """True while it may still come."""
        return self.call.ended_at is None

    def named(self) -> Started | None:
        """Return the run that it names."""
        try:
            response = self.call.poll()
        except (TransportError, BadAnswer):
            return None
        ruuid = response and ruuid_of(response)
        return started(ruuid) if ruuid else None


def _ambiguous(lineup: Lineup) -> StartUncertain:
    ids = tuple(sorted(lineup.candidates))
    undated = "" if len(ids) > 1 else " SnapLogic does not say when it was made."
    return StartUncertain(
        f"SnapLogic started a run, but {len(ids)} new {'runs' if len(ids) > 1 else 'run'} of the pipeline came up "
        f"meanwhile, and nothing tells which is this task's: {', '.join(ids)}.{undated} They may be alive; none was "
        f"stopped. {SAFE_WAY}",
        candidates=ids,
    )


def ruuid_of(response: HttpResponse) -> str | None:
    """Return the run's id from the header, or from the pipeline's own output ``[{"ruuid": ...}]``."""
    if ruuid := response.headers.get(RUUID_HEADER):
        return ruuid
    body = response.json_or_none()
    first = body[0] if isinstance(body, list) and body else body
    ruuid = first.get("ruuid") if isinstance(first, Mapping) else None
    return ruuid if isinstance(ruuid, str) and ruuid else None
