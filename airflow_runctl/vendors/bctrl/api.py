"""bctrl: what its two contracts have in common, the requests, the errors, the words of a start.

bctrl reshaped its API several times at one address. Two of its shapes are spoken here, chosen by the
connection's extra ``api``: ``workspaces`` (``workspaces.py``: a runtime by workspace and alias, as in
https://platform.bctrl.ai/api/api-reference/workspaces/runtimes-stop) and ``browsers`` (``browsers.py``
and ``tasks.py``: contract 2026-10-03, known from the vendor's Python client 0.3.0).

An answer may hold addresses by which anybody can drive a browser. No message here quotes an answer that is
not an error, and nothing that is handed out keeps them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from airflow_runctl.exceptions import BadAnswer, HandleError, StartUncertain, TransportError, VendorError
from airflow_runctl.runs import ExternalRun, RunState
from airflow_runctl.vendors.base import (
    Effect,
    Flow,
    HttpRequest,
    HttpResponse,
    Pause,
    Search,
    Started,
    StartPlan,
    Vendor,
    path,
    text_of,
    vendor_error,
)

START_REFUSED: Final = frozenset({400, 401, 402, 403, 404, 409, 422, 429})
"""Answers to the first sending of a start that surely mean that nothing was started."""

OUTCOME_UNKNOWN: Final = frozenset({"unknown", "outcome_unknown"})
"""Values of ``reasonClass`` after which the official client never sends anything again."""

KEY_HEADER: Final = "Idempotency-Key"
KEYED_PAUSES: Final = (0.0, 1.0, 3.0)
"""Seconds before each sending of a start under its key; an unclear failure is followed by the next."""

LOST_PAUSES: Final = (0.0, 2.0, 4.0)
"""Seconds before each look for the run of a start that was never answered."""

PAGE: Final = 100
MAX_PAGES: Final = 200

CREDENTIALS: Final = frozenset(
    {"connections", "connectUrl", "cdpUrl", "webdriverUrl", "liveViewUrl", "liveViewReadOnlyUrl", "viewUrl"}
)
"""Keys of an answer by whose values a browser can be driven, or a form be filled in."""

HINTS: Final[Mapping[int, str]] = {
    401: "Check the API key in the password of the connection.",
    402: "The plan allows no more of this.",
    403: "The API key is good, but not allowed to do this.",
    429: "Too many calls.",
}


@dataclass(frozen=True, slots=True)
class RuntimeStart:
    """A runtime that is to be started; each contract takes its own part of this and refuses the other's.

    :param workspace_id: id of the workspace. (workspaces)
    :param alias: the runtime's name in it. (workspaces)
    :param kind: ``browser``; other kinds were announced. (workspaces)
    :param driver: ``puppeteer``, ``playwright``, ``selenium`` or ``stagehand``. (workspaces)
    :param launch: ``{"mode": "ephemeral"}`` or ``{"mode": "profile", "profileId": ...}``. (workspaces)
    :param browser_id: id, or a name that only one has, of a browser that exists. (browsers)
    :param name: name of a browser that is to be made. (browsers)
    :param space_id: space in which it is made. (browsers)
    :param options: further fields of the request's body, as they are.
    """

    workspace_id: str | None = None
    alias: str | None = None
    kind: str = "browser"
    driver: str | None = None
    launch: Mapping[str, Any] | None = None
    browser_id: str | None = None
    name: str | None = None
    space_id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TaskStart:
    """Work that is to be given to an agent.

    :param agent: id or name of the agent.
    :param input: a text, or a list of parts.
    :param version: version of the agent.
    :param options: further fields of the request's body, as they are: ``conversation``, ``outputSchema``, ...
    """

    agent: str
    input: str | list[Any] = field(repr=False)
    version: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as bctrl words it; older contracts write it flat, newer ones nested under ``error``.

    :param text: what it says, and what it advises.
    :param code: such as ``browser.not_running``.
    :param reason: its ``reasonClass``.
    """

    text: str
    code: str
    reason: str

    @classmethod
    def read(cls, response: HttpResponse) -> Failure:
        """Return what an answer says of its failure."""
        body = response.json_or_none()
        fields = body if isinstance(body, Mapping) else {}
        text = fields.get("error")
        if isinstance(text, Mapping):
            fields, text = text, text.get("message")
        text = text_of(text) or text_of(fields.get("message")) or response.excerpt() or "no text"
        code, request_id = text_of(fields.get("code")) or "", text_of(fields.get("requestId"))
        named = ", ".join(part for part in (code, f"request {request_id}" if request_id else "") if part)
        sentences = (f"{text} ({named})" if named else text, text_of(fields.get("hint")))
        text = " ".join(sentence.rstrip(".") + "." for sentence in sentences if sentence)
        return cls(text, code, text_of(fields.get("reasonClass")) or "")


@dataclass(frozen=True, slots=True)
class Bctrl(Vendor):
    """bctrl's API for one key, over one of its contracts.

    :param headers: ``Authorization``, and what else every request carries.
    """

    name: ClassVar[str] = "bctrl"
    label: ClassVar[str] = "bctrl"
    failed_may_mean_stopped: ClassVar[bool] = False
    suspended_hint: ClassVar[str] = (
        "Nobody here can answer. Give the agent what it needs in its input; or answer at bctrl, with "
        "on_retry='resume' and retries, which leave the task alive for that long."
    )
    contract: ClassVar[str]
    """Value of the connection's extra ``api`` that chooses it."""

    not_found_hint: ClassVar[str] = ""

    headers: Mapping[str, str] = field(repr=False)

    @abstractmethod
    def start_runtime(self, runtime: RuntimeStart) -> StartPlan:
        """Plan the start of a runtime, which then lives until something stops it or it idles out.

        :raises ConnectionSetupError: for what this contract does not know.
        """

    @abstractmethod
    def run_task(self, task: TaskStart) -> StartPlan:
        """Plan a task of an agent.

        :raises ConnectionSetupError: if this contract knows no tasks.
        """

    def state_among(self, states: Mapping[str, RunState], kind: str, word: str) -> RunState:
        """Map a word of one kind of thing; a word of another kind is as unknown as any other."""
        return states.get(word) or self.state_of(f"{kind} {word}")

    def id_of(self, run: ExternalRun, name: str) -> str:
        """Return one of the ids of ``run``.

        :raises HandleError: if it has none, as a run of the other contract.
        """
        try:
            return run.ids[name]
        except KeyError:
            raise HandleError(
                f"bctrl run {run.run_id!r} has no {name}: it was started over another contract than the one that "
                f"connection {run.conn_id!r} speaks now (extra 'api' is {self.contract!r}). Nothing was done; the "
                "run may be alive. Set 'api' back, or use a second connection."
            ) from None

    # -- requests and answers ------------------------------------------------------------------------

    def request(
        self,
        method: str,
        *segments: str,
        effect: Effect = Effect.READ,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> HttpRequest:
        """Return a request to ``/v1/<segments>``; ``key`` is its idempotency key."""
        headers = {**self.headers, **({KEY_HEADER: key} if key else {})}
        return HttpRequest(
            method, path("v1", *segments), effect, query=query or {}, headers=headers, json=json, timeout=timeout
        )

    def object_of(self, response: HttpResponse, what: str) -> Mapping[str, Any]:
        """Return the JSON object of an answer.

        :raises VendorError: if the answer is no 2xx.
        :raises BadAnswer: if there is none.
        """
        body = self._body(response, what)
        if not isinstance(body, Mapping):
            raise _unreadable(response, what)
        return body

    def array_of(self, response: HttpResponse, key: str) -> list[Mapping[str, Any]]:
        """Return the objects of a list, which stand under ``key``, under ``data``, or alone."""
        body = self._body(response, f"the list of {key}")
        if isinstance(body, Mapping):
            body = body.get(key, body.get("data"))
        if not isinstance(body, list):
            raise _unreadable(response, f"the list of {key}")
        return [entry for entry in body if isinstance(entry, Mapping)]

    def _body(self, response: HttpResponse, what: str) -> Any:
        if not response.ok:
            raise self.error_of(response)
        return response.json_or_none()

    def error_of(self, response: HttpResponse) -> VendorError:
        """Return the error that an answer stands for."""
        hint = self.not_found_hint if response.status == 404 else HINTS.get(response.status, "")
        message = f"bctrl answered HTTP {response.status}: {Failure.read(response).text} {hint}"
        return vendor_error(response.status, message.strip())

    def pages(
        self, *segments: str, query: Mapping[str, str] | None = None, most: int | None = None
    ) -> Flow[list[Mapping[str, Any]]]:
        """Return the entries of all pages of a list, newest first, over contract browsers.

        :param most: read no more pages, and leave out what is behind; ``None`` reads all.
        :raises BadAnswer: if it has no end.
        """
        what = "/".join(segments)
        found: list[Mapping[str, Any]] = []
        cursor: str | None = None
        cursors: set[str] = set()
        for number in range(1, MAX_PAGES + 1):
            asked = {**(query or {}), "limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
            response = yield self.request("GET", *segments, query=asked)
            found += self.array_of(response, what)
            cursor = text_of(self.object_of(response, what).get("nextCursor"))
            if cursor is None or number == most:
                return found
            if cursor in cursors:
                raise BadAnswer(f"bctrl's list of {what} leads back to a page that was read.")
            cursors.add(cursor)
        raise BadAnswer(f"bctrl's list of {what} has more than {MAX_PAGES} pages of {PAGE}.")

    def keyed(self, request: HttpRequest) -> Flow[HttpResponse]:
        """Send a start over contract browsers; after an unclear failure send it again.

        That is safe because of its idempotency key: the same request under the same key is answered with
        the first one's success, and starts nothing more. Once one sending was unclear, no refusal of a later one
        proves that nothing was started.

        :raises StartUncertain: if no answer tells what became of it.
        """
        why = ""
        for pause in KEYED_PAUSES:
            if pause:
                yield Pause(pause)
            try:
                response: HttpResponse = yield request
            except (TransportError, BadAnswer) as error:
                if not why and not getattr(error, "sent", True):
                    raise
                why = str(error)
                continue
            if response.ok or (not why and response.status in START_REFUSED):
                return response
            failure = Failure.read(response)
            why = f"bctrl answered HTTP {response.status}: {failure.text}"
            if failure.reason in OUTCOME_UNKNOWN:
                break
        raise StartUncertain(f"what became of it is not known: {why}")

    def lost(self, search: Search, what: str, why: str) -> Flow[Started]:
        """Look for the run of a start whose answer said nothing.

        :raises StartUncertain: if none is found, or several are.
        """
        found: list[Started] = []
        for pause in LOST_PAUSES:
            yield Pause(pause)
            try:
                found = yield from self.find(search)
            except (TransportError, VendorError, BadAnswer):
                continue
            if found:
                break
        if len(found) == 1:
            return found[0]
        seen = f"{len(found)} came up" if found else "none was found"
        raise StartUncertain(
            f"bctrl was told to start {what}, but {why.rstrip('.')}; {seen}. It may be alive: no second one was "
            "started. Look for it at bctrl.",
            candidates=tuple(run.run_id for run in found),
        )


def without_credentials(value: Any) -> Any:
    """Return an answer without what lets somebody drive a browser."""
    if isinstance(value, Mapping):
        return {key: without_credentials(inner) for key, inner in value.items() if key not in CREDENTIALS}
    if isinstance(value, list):
        return [without_credentials(inner) for inner in value]
    return value


def _unreadable(response: HttpResponse, what: str) -> BadAnswer:
    return BadAnswer(
        f"bctrl's answer about {what} (HTTP {response.status}, {len(response.body)} bytes) is not what it should be."
    )
