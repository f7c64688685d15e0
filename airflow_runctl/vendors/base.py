"""What every vendor's file speaks: requests, answers, flows, and the shape of a vendor.

The theory. An operation at a vendor is often several calls: stop = look, ask, look again; list = page by
page. Each is written once, as a *flow*: a generator that yields what it needs and is sent the answer.
It yields

- an ``HttpRequest`` and is sent an ``HttpResponse`` (or has a ``TransportError`` thrown in),
- a ``Pause`` and is sent ``None`` once it has passed,
- a ``NextLook`` and is sent ``None`` once another look at its run is worth it,
- an ``Open`` and is sent a ``PendingCall``: a request that is under way while the flow goes on,
- a ``Tell`` and is sent ``None``: something worth recording or logging, which the driver's listener gets,
- an ``Owned`` and is sent those of its runs that other tasks own,
- a ``Hurry`` and is sent a ``FlowClock``: how urgent is what follows, and the time that counts for it.

``transport.sync`` drives a flow with requests, ``transport.aio`` with aiohttp; the flow cannot tell which.
A flow knows no host: a path is relative to the connection's base URL, so that nothing that a vendor
answers, or that lies in an XCom, can send a credential elsewhere.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, IntEnum, StrEnum
from functools import lru_cache
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol, TypeVar
from urllib.parse import quote

from airflow_runctl.exceptions import (
    BadAnswer,
    ConnectionSetupError,
    InvalidIdentifier,
    LoginRefused,
    NotFound,
    RateLimited,
    VendorError,
)
from airflow_runctl.runs import ExternalRun, RunState, RunStatus

log = logging.getLogger(__name__)

T = TypeVar("T")

EXCERPT: Final = 300
"""How many characters of a vendor's own text an error message quotes."""


class Effect(Enum):
    """What a request does at the vendor; ``transport.retry`` decides by it what may be sent again."""

    READ = "read"
    STOP = "stop"
    START = "start"


class Rank(IntEnum):
    """What goes first where not all can go at once: the lower."""

    ACT = 0
    """A start, or the first request to stop a run."""
    LOOK_BEFORE = 1
    """A look at a run that is about to be stopped."""
    CONFIRM = 2
    """Whatever follows a request to stop: looks, and requests that are made again."""
    POLL = 3
    """All else."""


class Operation(StrEnum):
    """What people can do with a vendor; a vendor lists the ones that it takes."""

    START = "start"
    WATCH = "watch"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    LIST = "list"
    TEST = "test"


KEY_TO_A_RUN: Final = re.compile(
    r"""("[^"]* (?:link|url|connections|password|token|secret|\bpw\b) [^"]*" \s*:\s*)"""
    r"""(?: "(?:[^"\\]|\\.)*"? | [{\[][^}\]]*[}\]]? )"""
    r"""| ((?:password|pw|token|secret)=) [^&\s"']*""",
    re.IGNORECASE | re.VERBOSE,
)
"""What is, in JSON or in an address, under a name for something by which whoever has it can drive or stop a run."""


def without_keys_to_a_run(text: str) -> str:
    """Return an answer's text without viewer links, addresses of browsers and the like, to be quoted in a message."""
    return KEY_TO_A_RUN.sub(lambda found: f"{found[1] or found[2]}***", text)


SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""Escape of half a character; in pairs they are one, alone no text that can be stored."""

NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""Its escape, and before it what is escaped by itself."""

DEEPEST: Final = 100
"""Levels of JSON that are read. Python falls over what is some hundred deep, wherever it is walked through next."""

BIG: Final = re.compile(r"\d{19}|\d[eE]\+?\d{3}")
"""What is in every number that is too big; to look at each takes ten times as long."""

WHOLE: Final = range(-(2**63), 2**64)
"""Numbers that Airflow can send from one of its processes to another."""


def parse_json(body: bytes) -> Any:
    """Return JSON as standards have it: UTF-8, no ``NaN``, no number beyond a float, no half a character.

    Python's own reader lets these pass; whoever stores, sends or compares them fails later, and elsewhere. For the same
    reason a whole number of more than 64 bits is read as most others read it, as a float; and a NUL, which PostgreSQL
    stores in no text, as the replacement character.

    :raises ValueError: if it is something else, or nested deeper than ``DEEPEST``.
    :raises RecursionError: if it is nested deeper than Python can follow.
    """
    text = body.removeprefix(BOM_UTF8).decode()
    escapes = "\\u" in text
    if escapes:
        text = NUL.sub(r"\1\\ufffd", text)
    # For a short text it takes longer to look for big numbers than to look at each.
    decoder = AS_WRITTEN if len(text) > SHORT and not BIG.search(text) else WITH_BIG_NUMBERS
    value = decoder.decode(text)
    if text.count("[") + text.count("{") > DEEPEST:
        _check_depth(value)
    if escapes and SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is beyond a float")
    return number


def _whole(text: str) -> int | float:
    number = int(text)
    return number if number in WHOLE else _finite(text)


SHORT: Final = 2000
"""Characters."""

WITH_BIG_NUMBERS: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
AS_WRITTEN: Final = json.JSONDecoder(parse_constant=_refuse)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, relative to the connection's base URL.

    :param method: HTTP method.
    :param path: percent-encoded path that begins with ``/``; see :func:`path`.
    :param effect: what it does at the vendor.
    :param query: query parameters.
    :param headers: headers, the credential among them; never shown.
    :param json: body, sent as JSON; ``None`` sends no body and no content type.
    :param data: body as it is, for media types other than JSON; goes with a ``Content-Type`` in ``headers``.
    :param timeout: seconds to wait for the answer, instead of the connection's; ``None`` for that.
    :param base_url: another base URL than the connection's; only ever one that the connection allows.
    """

    method: str
    path: str
    effect: Effect = Effect.READ
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    data: bytes | None = field(default=None, repr=False)
    timeout: float | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One answer.

    :param status: HTTP status.
    :param headers: headers with lower-case names.
    :param body: the body, whole.
    :param received_at: when it came, by the clock of this machine (Unix time).
    :param sent_at: when what it answers was sent, by the same clock.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received_at: float = 0.0
    sent_at: float = 0.0

    @property
    def ok(self) -> bool:
        """True for a 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body as JSON; an empty one is ``None``.

        :raises BadAnswer: if it is not JSON.
        """
        if not self.body.strip():
            return None
        try:
            return parse_json(self.body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(
                f"The answer (HTTP {self.status}, {len(self.body)} bytes) is not JSON: {self.excerpt()!r}"
            ) from error

    def json_or_none(self) -> Any:
        """Return the body as JSON, or ``None`` if it is not."""
        try:
            return self.json()
        except BadAnswer:
            return None

    def excerpt(self) -> str:
        """Return the beginning of the body as text, for messages; see :func:`without_keys_to_a_run`."""
        text = without_keys_to_a_run(self.body[: 4 * EXCERPT].decode("utf-8", errors="replace").strip())
        return text if len(text) <= EXCERPT else text[:EXCERPT] + "..."


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, then go on.

    :param seconds: how long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class NextLook:
    """Wait until another look at a run is worth it: when it is due, or later if a list shows the run as it was.

    :param run: the run.
    :param word: the vendor's word for it at the last look; ``None`` if that look brought none.
    :param seconds: after which the look is due.
    :param at_most: seconds after which to go on, whatever a list shows.
    """

    run: ExternalRun
    word: str | None
    seconds: float
    at_most: float = math.inf


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request that may stay unanswered for long, and go on meanwhile.

    :param request: the request.
    """

    request: HttpRequest


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something to whoever drives the flow.

    :param what: a value that the listener knows.
    """

    what: object


@dataclass(frozen=True, slots=True)
class Owned:
    """Ask which of these runs the records of other tasks claim.

    :param run_ids: runs that may be the one of a start.
    """

    run_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hurry:
    """Say how urgent all is that follows in this flow.

    :param rank: the rank of its requests.
    :param until: when nothing of it is of use any more (Unix time): a request that waits for its turn then, or for an
        answer, ends with an error.
    :param seconds: how long a request of it may take at most from its turn on, its repetitions included.
    """

    rank: Rank
    until: float = math.inf
    seconds: float = math.inf


class FlowClock(Protocol):
    """The time of one flow: what has passed, less what its requests have waited for their turn."""

    def now(self) -> float:
        """Return seconds; only differences mean something."""


class PendingCall(Protocol):
    """A request that is under way."""

    opened_at: float
    """When it was begun, by the clock of this machine (Unix time)."""

    ended_at: float | None
    """When it was answered, or broke; ``None`` while it is open."""

    def poll(self) -> HttpResponse | None:
        """Return the answer, or ``None`` while there is none.

        :raises TransportError: if the call broke.
        """


Step = HttpRequest | Pause | NextLook | Open | Tell | Owned | Hurry

Flow = Generator[Step, Any, T]
"""An operation that yields what it needs and returns a ``T``."""


Glance = Callable[[ExternalRun], str | None]
"""The vendor's word for a run, as a list of many runs has it; ``None`` if the list does not show the run."""


WORTH_A_LIST: Final = 3
"""How many runs a list has to stand for, so that it is asked for instead of each of them."""


def pages_worth(count: int, page: int) -> int:
    """Return how many pages of ``page`` entries are read for ``count`` runs: others' runs may fill most of a list."""
    return 1 + 2 * count // page


Search = Mapping[str, Any]
"""Plain JSON, free of secrets, by which a run can be looked for if the answer to its start is lost."""


def path(*segments: str) -> str:
    """Return a path of percent-encoded ``segments``.

    :raises InvalidIdentifier: for an empty segment, ``.`` or ``..``: clients and gateways resolve these,
        encoded or not, and the request would reach something else.
    """
    for segment in segments:
        if segment in {"", ".", ".."}:
            raise InvalidIdentifier(f"{segment!r} cannot be an id or a name in the path {'/'.join(segments)!r}.")
    return "".join(map(_step_of_a_path, segments))


@lru_cache(maxsize=4096)
def _step_of_a_path(segment: str) -> str:
    return "/" + quote(segment, safe="")


def bearer(token: str) -> dict[str, str]:
    """Return the header of a bearer token.

    :raises ConnectionSetupError: if no header can carry it.
    """
    if not (token.isascii() and token.isprintable()):
        raise ConnectionSetupError(
            "A token of the connection holds characters that no HTTP header can carry: was it pasted as it was given?"
        )
    return {"Authorization": f"Bearer {token}"}


def basic(login: str, password: str) -> dict[str, str]:
    """Return the header of Basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode("ascii")}


HTTP_ERRORS: Final[Mapping[int, type[VendorError]]] = {
    401: LoginRefused,
    403: LoginRefused,
    404: NotFound,
}
"""HTTP status to error; what is not here is a plain ``VendorError``."""


def vendor_error(status: int, message: str, response: HttpResponse | None = None) -> VendorError:
    """Return the error for a status.

    :param status: that of the answer, or one that stands in it.
    :param response: the answer; a 429 may tell how long to wait.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(message, status=status, retry_after=retry_after(response) if response else None)
    return HTTP_ERRORS.get(status, VendorError)(message, status=status)


def retry_after(response: HttpResponse) -> float | None:
    """Return the seconds that the vendor asked to wait, given as a number or as a date."""
    value = response.headers.get("retry-after", "")
    with suppress(ValueError):
        seconds = float(value)
        return seconds if math.isfinite(seconds) else None
    try:
        return parsedate_to_datetime(value).timestamp() - response.received_at
    except (TypeError, ValueError, OverflowError):  # a year or an offset beyond what a date can be
        return None


@lru_cache(maxsize=1000)
def _warn_unknown_word(vendor: str, word: str) -> None:
    log.warning(
        "%s: state %r is not documented. The run is taken for live; only a limit or a stop ends the wait.",
        vendor,
        word[:EXCERPT],
    )


class Authority(Protocol):
    """The start's own answer, which may still come and say which run it made."""

    @property
    def is_open(self) -> bool:
        """True while it may still come."""

    def named(self) -> Started | None:
        """Return the run that it names; ``None`` if it names none, or has not come yet."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a start gave.

    :param run_id: the run's id, for people.
    :param ids: what the vendor asks for to act on the run; may hold secrets.
    :param vendor_state: the vendor's word for where it stands, for the log.
    :param shown: what a task that does not wait hands to later ones; no secret among it.
    :param created_at: when the vendor made it, by this machine's clock, of a run that nothing but its name and its
        newness speak for.
    :param authority: of a run that was inferred while the call that started it stays open: what outranks it.
    """

    run_id: str
    ids: Mapping[str, str] = field(repr=False)
    vendor_state: str = ""
    shown: Mapping[str, str] | None = None
    created_at: datetime | None = None
    authority: Authority | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class StopReply:
    """The vendor's answer to the request to stop, which is not the stop itself.

    :param status: a look at the run, if the answer has one.
    """

    status: RunStatus | None = None


class Vendor(ABC):
    """What one vendor's API can do. Holds the credential; knows no host, no clock, no Airflow."""

    name: ClassVar[str]
    label: ClassVar[str]
    operations: ClassVar[frozenset[Operation]]
    states: ClassVar[Mapping[str, RunState]]
    failed_may_mean_stopped: ClassVar[bool]
    """True where the vendor shows a run that was stopped as plain failed."""

    rate_limit: ClassVar[int | None] = None
    """Calls a minute that the vendor takes of an account, as it has published; ``None`` if it has published nothing."""

    stop_again_after: ClassVar[tuple[float, ...]] = (10.0, 20.0, 40.0)
    """Seconds after each accepted request to stop after which a run that goes on all the same is told again, within the
    time that the stop has; empty where a stop must not be repeated."""

    suspended_hint: ClassVar[str] = "With on_retry='resume' a further try resumes it."
    """What an error about a suspended run tells to do."""

    settling_time: float = 0.0
    """Seconds for which a run has to stay the only one before it is taken for the one of a start that named none."""

    can_glance: ClassVar[bool] = False
    """Whether :meth:`glance` is there: a list that says of many runs how they are, in few requests."""

    looks_by_name: ClassVar[bool] = False
    """Whether a look at a run may tell of a later one of the same name."""

    filters: ClassVar[frozenset[str]] = frozenset()
    """What live runs can be searched by (:meth:`live_runs`); none where the vendor cannot tell."""

    @abstractmethod
    def status(self, run: ExternalRun) -> Flow[RunStatus]:
        """Look at ``run``."""

    @abstractmethod
    def ask_stop(self, run: ExternalRun) -> Flow[StopReply]:
        """Ask the vendor to stop ``run``; to confirm it is another's work.

        :raises CannotStop: if the vendor has no way to stop this run.
        """

    def glance(self, watched: Sequence[tuple[ExternalRun, str]]) -> Flow[Glance]:
        """Return what a list says of many runs, in fewer requests than looks at each of them would take.

        It need not show each: who asks looks at those runs themselves, and believes the list nothing but that a run
        is as it was.

        :param watched: live runs, each with the vendor's word for it at the last look.
        """
        raise NotImplementedError(f"{self.label} has no list of runs to glance at")

    def can_look(self, run: ExternalRun) -> bool:
        """Return False for a run that can be told to stop, but not be looked at."""
        return True

    def ask_resume(self, run: ExternalRun) -> Flow[None]:
        """Ask the vendor to resume ``run``."""
        raise NotImplementedError(f"{self.label} cannot resume a run")

    def may_be_suspended(self, status: RunStatus) -> bool:
        """Return True for a run that a further try with ``on_retry='resume'`` has to resume."""
        return status.state is RunState.SUSPENDED

    def restart(self, run: ExternalRun) -> StartPlan | None:
        """Return how what was stopped is started again, where the vendor does not need another one for that."""
        return None

    def ask_pause(self, run: ExternalRun) -> Flow[None]:
        """Ask the vendor to pause ``run``."""
        raise NotImplementedError(f"{self.label} cannot pause a run")

    def find(self, search: Search) -> Flow[list[Started]]:
        """Return the runs that an unfinished start, written ahead as ``search``, may have made.

        One that anybody may have made, since nothing but its name and its newness speaks for it, says when.

        :param search: the search keys that were recorded before the start.
        """
        raise NotImplementedError(f"{self.label} cannot look for the run of an unfinished start")

    def live_runs(self, filters: Mapping[str, str]) -> Flow[list[Started]]:
        """Return every run that is alive now and surely matches every filter.

        A run of which the vendor does not say what a filter asks for is left out: who asks may stop them all.

        :param filters: some of :attr:`filters`, each with the exact value wanted; with none every run that the
            credential shows, which is only ever asked for to report on them.
        """
        raise NotImplementedError(f"{self.label} cannot look for runs")

    @abstractmethod
    def test(self) -> Flow[str]:
        """Return a sentence that says what the connection reaches, and as whom."""

    def run_url(self, base_url: str, started: Started) -> str | None:
        """Return the page of a run, free of secrets, or ``None`` where the vendor has none."""
        return None

    def state_of(self, word: str) -> RunState:
        """Map the vendor's own word; an undocumented one is live and is logged once."""
        try:
            return self.states[word]
        except KeyError:
            _warn_unknown_word(self.label, word)
            return RunState.UNKNOWN


@dataclass(frozen=True, slots=True)
class StartPlan:
    """A start in two steps, so that what is needed to find the run again is recorded before it exists.

    :param arguments: what is started, plain JSON: tells one start from another.
    :param prepare: checks what can be checked and returns the search keys; starts nothing.
    :param start: sends the start, at most once, and returns the run.
    :param alike: where the answer may not name the run: by what another start could make one that is taken for this
        one's. Starts whose keys are equal, or ``None``, take turns in a Dag run.
    :param what: name of what is started, for people, who read it beside the run's id; no part of it a credential.
    """

    arguments: Any = field(repr=False)
    prepare: Callable[[], Flow[Search]]
    start: Callable[[Search], Flow[Started]]
    alike: Search | None = None
    what: str | None = None


def text_of(value: Any) -> str | None:
    """Return ``value`` as text for a message: ``None`` stays, a container becomes JSON."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 4 * EXCERPT else text[: 4 * EXCERPT] + "..."


def parse_time(value: Any) -> datetime | None:
    """Return an ISO 8601 time, or ``None`` if ``value`` is none."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None
