"""Two vendors in memory, on virtual time: SnapLogic and axiom.ai as documented, and their troubles.

They answer the ``HttpRequest`` of our transport, below its retries. Each keeps the truth: which runs there are, who
made them, and who told them to stop.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow_runctl.exceptions import TransportError
from airflow_runctl.vendors.base import HttpRequest, HttpResponse
from tests.models.virtual_time import world

LATENCY = 0.1
NEVER = float("inf")
CUT_OFF = 900.0
"""Seconds after which SnapLogic ends an open trigger call."""

Exchange = Generator[float, None, HttpResponse]
"""A request on its way: yields the seconds that pass, returns the answer, or raises that there is none."""


@dataclass
class Run:
    """A run at the vendor, and the truth about it.

    :param of: the pipeline or automation.
    :param shown_at: when lists begin to show it.
    :param word: the vendor's word for its state.
    :param by: the attempt that made it; ``None`` for somebody else's.
    :param inputs: what it was started with.
    :param owner: the attempt that follows it.
    :param released: its task left it to the Dag run, or to nobody.
    :param unseen: the next attempt was killed between Airflow's wiping of the XComs and its own first record: what
        knows the run then is the task state store alone, which no callback can read. Nothing can be done about it.
    :param secret: what a stop has to know (axiom.ai).
    :param stopped_by: whose request to stop took effect; ``None`` if none did.
    :param causes: why it may be stopped.
    :param due: what it will be, by itself, and when.
    """

    run_id: str
    of: str
    made_at: float
    shown_at: float
    word: str
    by: Any = None
    inputs: str = ""
    secret: str = ""
    owner: Any = None
    released: bool = False
    unseen: bool = False
    stopped_by: str | None = None
    causes: set[str] = field(default_factory=set)
    due: list[tuple[float, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"run {self.run_id} ({self.word}) of {self.by or 'somebody else'}"


@dataclass
class Trouble:
    """What goes wrong with the next requests of a kind; see :attr:`Vendor.TROUBLES`."""

    op: str
    kind: str
    left: int


class Vendor(ABC):
    """What the two vendors share: runs, the passing of time, troubles.

    :param made: told of each run that a request makes.
    :param told_to_stop: told of each request to stop a run that arrives, and whether it takes effect.
    :param troubled: told of each trouble that a request meets.
    """

    name: ClassVar[str]
    connection: ClassVar[dict[str, Any]]
    over: ClassVar[frozenset[str]]
    stopped_word: ClassVar[str]
    REPLIES: ClassVar[tuple[str, str, str]]
    """How a start may be answered; the first is the best."""

    UNSENT = frozenset({"refused"})
    UNHEARD = frozenset({"lost", "hang", "500", "503", "429"})
    """Troubles in which the vendor does nothing."""

    TROUBLES = ("refused", "lost", "hang", "500", "503", "429", "cut", "late", "504", "garbage")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.troubles: list[Trouble] = []
        self.lag = 0.0
        self.stop_seconds = 2.0
        self.reply = ""
        self.sender: Callable[[], Any] = lambda: None
        self.made: Callable[[Run], None] = lambda run: None
        self.told_to_stop: Callable[[Run, bool], None] = lambda run, works: None
        self.troubled: Callable[[], None] = lambda: None

    # -- the truth ---------------------------------------------------------------------------------------

    def is_over(self, run: Run) -> bool:
        self._pass_time(run)
        return run.word in self.over

    def live(self) -> list[Run]:
        return [run for run in self.runs if not self.is_over(run)]

    def set(self, run: Run, word: str) -> None:
        """Let a run change by itself."""
        run.word = word
        run.due.clear()

    def _pass_time(self, run: Run) -> None:
        while run.due and run.due[0][0] <= world().now:
            run.word = run.due.pop(0)[1]

    def _shown(self) -> list[Run]:
        """The runs that can be seen by now."""
        for run in self.runs:
            self._pass_time(run)
        return [run for run in self.runs if run.shown_at <= world().now]

    def _stop(self, run: Run, going: str) -> None:
        works = not self.is_over(run) and run.stopped_by is None and self.stop_seconds < NEVER
        self.told_to_stop(run, works)
        if works:
            run.word, run.due = going, [(world().now + self.stop_seconds, self.stopped_word)]

    # -- requests ----------------------------------------------------------------------------------------

    def exchange(self, request: HttpRequest, timeout: float) -> Exchange:
        """Carry ``request`` to the vendor and its answer back."""
        op = self.op_of(request)
        trouble = self._next_trouble(op)
        world().pass_point(f"{op}:sent")
        yield LATENCY
        if trouble in self.UNSENT:
            raise TransportError(f"No connection could be made to {request.path} (model).", sent=False)
        response = None if trouble in self.UNHEARD else (yield from self._answer(request, timeout))
        world().pass_point(f"{op}:done")
        if trouble in {"lost", "cut"}:
            yield LATENCY
            raise TransportError(f"No answer came to {request.path} (model).", sent=True)
        if trouble in {"hang", "late"}:
            yield min(timeout, 20.0 if trouble == "late" else NEVER)
            if trouble == "hang" or timeout <= 20.0:
                raise TransportError(f"No answer came to {request.path} (model).", sent=True)
        yield LATENCY
        if trouble == "garbage":
            return HttpResponse(200, {}, b"<html>oops", world().now)
        if trouble in {"500", "503", "504", "429"}:
            return HttpResponse(int(trouble), {}, b'{"message": "trouble"}', world().now)
        assert response is not None
        return response

    def _next_trouble(self, op: str) -> str:
        for trouble in self.troubles:
            if trouble.op == op and trouble.left > 0:
                trouble.left -= 1
                self.troubled()
                return trouble.kind
        return ""

    @abstractmethod
    def op_of(self, request: HttpRequest) -> str:
        """Return ``start``, ``stop``, ``resume``, ``look`` or ``list``."""

    @abstractmethod
    def _answer(self, request: HttpRequest, timeout: float) -> Exchange:
        """Do what is asked and answer."""

    @abstractmethod
    def new_run(self, of: str, inputs: str = "", by: Any = None) -> Run:
        """Make a run."""


def _json(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps(body).encode(), world().now)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


class SnapLogicModel(Vendor):
    """SnapLogic: a Triggered Task ``load-x`` runs the pipeline ``load-x``.

    ``reply`` is how a trigger answers: ``named`` (at once, with the run's id), ``silent`` (at once, without) or
    ``open`` (when the run is over).
    """

    name = "snaplogic"
    connection: ClassVar[dict[str, Any]] = {
        "conn_type": "snaplogic",
        "login": "ops@example.com",
        "password": "correct horse",
        "extra": {"org": "Acme", "task_token": "tok"},
    }
    over = frozenset({"Completed", "Failed", "Stopped"})
    stopped_word = "Stopped"
    REPLIES = ("named", "silent", "open")
    PROJECT = "/Acme/projects/sales"

    def op_of(self, request: HttpRequest) -> str:
        if "/slsched/feed/" in request.path:
            return "start"
        parts = request.path.split("/")[6:]
        if parts[0] in {"stop", "start"}:
            return {"stop": "stop", "start": "resume"}[parts[0]]
        return "list" if len(parts) == 1 else "look"

    def new_run(self, of: str, inputs: str = "", by: Any = None) -> Run:
        run_id = f"5f00aa11bb22cc33dd44ee55_00000000-0000-4000-8000-{len(self.runs) + 1:012}"
        run = Run(run_id, of, world().now, world().now + self.lag, "NoUpdate", by, inputs)
        run.due = [(world().now + 1.0, "Started")]
        self.runs.append(run)
        return run

    def _answer(self, request: HttpRequest, timeout: float) -> Exchange:
        op = self.op_of(request)
        if op == "start":
            return (yield from self._trigger(request, timeout))
        if op == "list":
            return self._list(request.query)
        run = self._known(request.path.rsplit("/", 1)[1])
        if run is None:
            self.troubled()  # not readable yet
            return self._no(404, "no such run")
        if op == "stop":
            if run.word in self.over:
                return self._no(400, "the run is over")
            self._stop(run, "Stopping")
        elif op == "resume":
            if run.word != "Suspended":
                return self._no(400, "not suspended")
            run.word, run.due = "Resuming", [(world().now + 2.0, "Started")]
        return self._yes({"ruuid": run.run_id, "state": run.word} if op == "look" else {})

    def _trigger(self, request: HttpRequest, timeout: float) -> Exchange:
        began = world().now
        run = self.new_run(request.path.rsplit("/", 1)[1], request.query.get("n", ""), self.sender())
        self.made(run)
        if self.reply == "named":
            return _json([{"ruuid": run.run_id}])
        while self.reply == "open" and not self.is_over(run) and world().now < began + CUT_OFF:
            if world().now > began + timeout:
                raise TransportError("No answer came to the trigger (model).", sent=True)
            yield 5.0
        return _json({"http_status_code": 200})

    def _list(self, query: Mapping[str, str]) -> HttpResponse:
        since = world().now - int(query["last_hours"]) * 3600
        entries = [
            {
                "id": run.run_id,
                "label": run.of,
                "path_id": self.PROJECT,
                "state": run.word,
                "invoker": "triggered",
                "create_time": _iso(run.made_at),
            }
            for run in self._shown()
            if run.word == query["state"] and query.get("pipe_name", run.of) == run.of and run.made_at >= since
        ]
        offset, limit = int(query["offset"]), int(query["limit"])
        page = entries[offset : offset + limit]
        return self._yes({"entries": page, "total": len(entries), "limit": limit, "offset": offset})

    def _known(self, run_id: str) -> Run | None:
        return next((run for run in self._shown() if run.run_id == run_id), None)

    def _yes(self, body: Any) -> HttpResponse:
        return _json({"response_map": body, "http_status_code": 200})

    def _no(self, status: int, text: str) -> HttpResponse:
        return _json({"response_map": {"error_list": [{"message": text}]}, "http_status_code": status}, status)


class AxiomModel(Vendor):
    """axiom.ai: one automation per name.

    ``reply`` is how a trigger answers: ``viewer``, ``queued`` (no viewer URL, so no stop) or ``odd`` (a viewer URL
    that no pid can be read from).
    """

    name = "axiom"
    connection: ClassVar[dict[str, Any]] = {
        "conn_type": "axiom",
        "password": "axm_key",
        "extra": {"rate_limit": 0},
    }
    over = frozenset({"Success", "Failure"})
    stopped_word = "Failure"
    REPLIES = ("viewer", "queued", "odd")
    OPS: ClassVar[dict[str, str]] = {
        "/trigger": "start",
        "/stop": "stop",
        "/run-data": "look",
        "/run-reports": "list",
    }

    def op_of(self, request: HttpRequest) -> str:
        return self.OPS[request.path]

    def new_run(self, of: str, inputs: str = "", by: Any = None) -> Run:
        number = len(self.runs) + 1
        run = Run(
            f"{of} #{31000 + number}",
            of,
            world().now,
            world().now + self.lag,
            "Running",
            by,
            inputs,
            secret=f"Pw{number}x",
        )
        self.runs.append(run)
        return run

    def _answer(self, request: HttpRequest, timeout: float) -> Exchange:
        yield 0.0
        body = request.json
        if request.path == "/stop":
            return self._stop_by_pw(body)
        if request.path == "/trigger":
            run = self.new_run(body["name"], json.dumps(body.get("data")), self.sender())
            self.made(run)
            return self._viewer(run)
        if request.path == "/run-data":
            mine = [run for run in self.runs if run.of == body["name"]]
            if not mine:
                return _json({"status": "error", "message": "Task not found"}, 404)
            self._pass_time(mine[-1])
            return _json({"status": mine[-1].word, "data": {}})
        shown = sorted(self._shown(), key=lambda run: -run.made_at)[: body["count"]]
        reports = [
            {"task_name": run.of, "status": run.word, "description": "", "created_at": _iso(run.made_at)}
            for run in shown
        ]
        return _json({"status": "success", "data": {"reports": reports}})

    def _viewer(self, run: Run) -> HttpResponse:
        if self.reply == "queued":
            return _json({"status": "queued", "message": "no free slot", "run_id": run.run_id.split("#")[1]})
        host = "c-0007-v4-proxy.axiom.ai" if self.reply == "viewer" else "v4-proxy-7-axiom-ai"
        link = f"https://vnc.axiom.ai/vnc_lite.html?host={host}&port=443&password={run.secret}"
        return _json({"OPEN LINK IN BROWSER": f"{link}&taskId={run.run_id.split('#')[1]}"})

    def _stop_by_pw(self, body: Mapping[str, str]) -> HttpResponse:
        run = next((run for run in self.runs if run.secret == body["pw"]), None)
        if run is None or body["pid"] != "07":
            return _json({"status": "error", "message": "Run not found"}, 404)
        self._stop(run, "Running")
        return _json({"stopped": body["pid"]})


MODELS: dict[str, type[Vendor]] = {model.name: model for model in (SnapLogicModel, AxiomModel)}
