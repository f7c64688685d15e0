"""Whatever a vendor answers, only this package's errors come out, in bounded time, and no secret; others are stopped.

Every flow of every vendor is driven over real HTTP, by both clients, with odd answers that hypothesis draws (see
``tests/fuzz``). The same answers are drawn each time. To look for others, for that many minutes in all:
``RUNCTL_FUZZ_MINUTES=60 pytest tests/unit/test_odd_answers.py -p no:randomly -n 0``; hypothesis then prints how to
repeat what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import itertools
import json
import logging
import os
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from airflow.providers.common.compat.sdk import Connection
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from airflow_runctl import vendors
from airflow_runctl.control import pause_resume, seal, stop_dag_run, stop_many, watch
from airflow_runctl.control import stop as stopping
from airflow_runctl.control.records import AUDIT_KEY, STARTING, start_of
from airflow_runctl.control.seal import handle_of
from airflow_runctl.control.stop_dag_run import DagRunStop
from airflow_runctl.control.stop_many import Report
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.hooks.base import Access, hook_class
from airflow_runctl.runs import HANDLE_KEY, Owner, TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport import aio, answer, retry, sync, turns
from airflow_runctl.transport.aio import close_session
from airflow_runctl.vendors.bctrl import tasks
from airflow_runctl.vendors.vectorshift import start
from tests.fuzz import answers
from tests.fuzz.answers import Odd
from tests.fuzz.flows import KEY, NOTE, ONCE, Recorded, Subject, record
from tests.fuzz.server import MOST_REQUESTS, Script, ScriptedServer, ScriptedTransport
from tests.unit.connections import Connections
from tests.unit.vendors.capabilities import VENDORS

MINUTES = float(os.environ.get("RUNCTL_FUZZ_MINUTES", "0"))
CONNECTIONS = ("snaplogic_default", "axiom_default", "vectorshift_default", "bctrl_default", "bctrl_browsers")
TESTS = 4 * len(CONNECTIONS)

ANSWER_SECONDS = 0.25
"""How long a client waits for an answer."""

PATIENT_SECONDS = 30.0
"""The same where the answer is good, and has only to come in spite of all that goes on."""

LONGEST_TEXT = 10_000
LONGEST_SECONDS = 60.0
"""How long anything may take: far longer than it does, on a machine that has much else to do."""


class Haste(logging.Handler):
    """A clock that a pause sets forward instead of waiting for it; it hears what is logged, too."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))

    def now(self) -> float:
        return time.time() + self._passed

    def sleep(self, seconds: float) -> None:
        self._passed += max(0.0, seconds)
        time.sleep(0.0005)

    def skip(self, seconds: float) -> None:
        self._passed += max(0.0, seconds)

    async def asleep(self, seconds: float) -> None:
        self._passed += max(0.0, seconds)
        await asyncio.sleep(0.0005)


class HastyAsyncio:
    """The module ``asyncio``, but for its sleep."""

    def __init__(self, haste: Haste) -> None:
        self.sleep = haste.asleep

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


@pytest.fixture(scope="module")
def haste() -> Iterator[Haste]:
    """Pauses and the derivation of keys take no time, and a request is tried once."""
    clock = Haste()
    with pytest.MonkeyPatch.context() as patch:
        for module in (stopping, watch, pause_resume, stop_dag_run, retry, answer, turns, sync, aio):
            patch.setattr(module, "time", SimpleNamespace(time=clock.now, monotonic=clock.now, sleep=clock.sleep))
        for module in (aio, stop_dag_run):
            patch.setattr(module, "asyncio", HastyAsyncio(clock))
        for module in (sync, aio):
            patch.setattr(module, "Patience", lambda: ONCE)
        for module in (stop_many, stop_dag_run):
            patch.setattr(module, "STOP_PATIENCE", ONCE)
        patch.setattr(seal, "COST", {**seal.COST, "n": 2})
        ours = logging.getLogger("airflow_runctl")
        patch.setattr(ours, "handlers", [clock])
        patch.setattr(ours, "propagate", False)
        ours.setLevel(logging.INFO)
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        yield clock
        for logger in (ours, logging.getLogger("urllib3")):
            logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as serving:
        yield serving


@pytest.fixture(scope="module")
def recorded(sandbox: Sandbox, haste: Haste) -> Callable[[str], Recorded]:
    """Return a vendor's good answers; they are asked for once."""
    found: dict[str, Recorded] = {}

    def ask(conn_id: str) -> Recorded:
        if conn_id not in found:
            found[conn_id] = record(sandbox, conn_id, haste.now, haste.sleep)
        return found[conn_id]

    return ask


@pytest.fixture
def known(recorded: Callable[[str], Recorded], conn_id: str, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The vendor's good answers; from now on every start bears the key of the recorded runs."""
    found = recorded(conn_id)
    for module in (tasks, start):
        monkeypatch.setattr(module, "uuid4", lambda: SimpleNamespace(hex=KEY))
    return found


# -- what must hold --------------------------------------------------------------------------------------


def at(access: Access, url: str, prefix: str) -> Access:
    """Return the connection with another host."""
    endpoint = dataclasses.replace(access.endpoint, base_url=url + prefix, timeout=ANSWER_SECONDS)
    vendor: Any = access.vendor
    if hasattr(vendor, "base_url"):
        vendor = dataclasses.replace(vendor, base_url=url + prefix)
    return dataclasses.replace(access, endpoint=endpoint, vendor=vendor)


def prefix_of(known: Recorded) -> str:
    """Return the path under which the vendor is served."""
    return urlsplit(known.subject.access.endpoint.base_url).path


def secrets(box: Sandbox, access: Access) -> list[str]:
    """Return what must never show: all that the sandbox keeps secret bears its seed."""
    headers = [getattr(access.vendor, name, {}) for name in ("headers", "task_headers")]
    return [box.seed, *(value.partition(" ")[2] for one in headers for name, value in one.items() if " " in value)]


@contextlib.contextmanager
def checking(haste: Haste, hidden: list[str]) -> Iterator[None]:
    """Nothing but an error of this package comes out, soon; no text of it or of a log shows what is hidden."""
    haste.said.clear()
    began = time.monotonic()
    try:
        yield
    except RunctlError as error:
        haste.said.append(str(error))
    assert time.monotonic() - began < LONGEST_SECONDS
    for text in haste.said:
        assert not [secret for secret in hidden if secret in text], "a secret shows"
        assert len(text) < LONGEST_TEXT, "too long to be read"
        assert "not foreseen" not in text
        text.encode()


def check_value(value: Any) -> None:
    """What a flow gives can be stored as JSON, as text that a database takes, and sent as Airflow sends it."""
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    text = json.dumps(plain, default=_plain, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text.replace("\\\\", ""), "PostgreSQL takes no NUL"
    text.encode()
    msgspec.msgpack.encode(json.loads(text))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def drive(name: str, access: Access, flow: Any, haste: Haste) -> Any:
    """Drive a flow with one of the two clients."""
    if name == "requests":
        return access.drive(flow, ONCE, sleep=haste.sleep)

    async def go() -> Any:
        try:
            return await access.adrive(flow, ONCE)
        finally:
            await close_session()

    return asyncio.run(go())


# -- how it is tried -------------------------------------------------------------------------------------


def fuzz(examples: int, tried: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Try with what hypothesis draws: always the same, or for a test's share of the minutes something else."""
    until = time.monotonic() + MINUTES * 60.0 / TESTS
    for number in itertools.count():
        if MINUTES:
            tried = seed(int.from_bytes(os.urandom(8)))(tried)
        run = settings(
            max_examples=500 if MINUTES else examples,
            derandomize=not MINUTES,
            database=None,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )(given(**strategies)(tried))
        run()
        if time.monotonic() >= until:
            print(f"{number + 1} rounds")
            return


@pytest.mark.timeout(0 if MINUTES else 120)
@pytest.mark.parametrize("client", ["requests", "aiohttp"])
@pytest.mark.parametrize("conn_id", CONNECTIONS)
def test_nothing_but_this_packages_errors_comes_out_of_a_flow(
    conn_id: str,
    client: str,
    sandbox: Sandbox,
    server: ScriptedServer,
    known: Recorded,
    haste: Haste,
) -> None:
    names = sorted(known.subject.flows())
    numbers = itertools.count()
    prefix = prefix_of(known)

    def tried(name: str, odd: tuple[Odd, ...], tail: int) -> None:
        where = f"x{next(numbers)}"
        script = Script(known.good, odd, Odd(turn=tail))
        access = at(known.subject.access, server.url(where, script), prefix)
        subject: Subject = dataclasses.replace(known.subject, access=access)
        with checking(haste, secrets(sandbox, access)):
            check_value(drive(client, access, subject.flows()[name](), haste))
        server.forget(where)
        assert len(script.heard) <= MOST_REQUESTS, "it goes on and on"
        assert not server.led_away, "something was sent to another host"

    fuzz(8, tried, name=st.sampled_from(names), odd=answers.script, tail=st.integers(0, 7))


@pytest.mark.timeout(0 if MINUTES else 120)
@pytest.mark.parametrize("conn_id", CONNECTIONS)
def test_nothing_but_this_packages_errors_comes_of_what_an_answer_says(
    conn_id: str, sandbox: Sandbox, known: Recorded, haste: Haste
) -> None:
    """The same without a network, for what is said: so many more answers can be tried."""
    flows = known.subject.flows()
    hidden = secrets(sandbox, known.subject.access)

    def tried(name: str, odd: tuple[Odd, ...], tail: int) -> None:
        script = Script(known.good, odd, Odd(turn=tail))
        client = ScriptedTransport(known.subject.access.endpoint, script, haste.now, haste.skip)
        with client, checking(haste, hidden):
            check_value(client.drive(flows[name](), ONCE))

    fuzz(40, tried, name=st.sampled_from(sorted(flows)), odd=answers.content, tail=st.integers(0, 7))


# -- the stop of others ------------------------------------------------------------------------------------

TASKS = {name: TaskKey("harvest", "manual__1", name) for name in ("odd", "one", "two")}


class Records:
    """What three tasks of a Dag run have stored, each with a connection of its own name.

    :param rows: the connections, in Airflow's JSON form.
    :param values: XComs by task and key.
    """

    writable = False

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self._rows = rows
        self.values: dict[tuple[str, str], Any] = {}

    async def connection(self, conn_id: str) -> tuple[Any, dict[str, Any]]:
        conn = self.conn(conn_id)
        return conn, conn.extra_dejson

    def conn(self, conn_id: str) -> Any:
        row = self._rows[conn_id]
        return Connection(conn_id=conn_id, **{**row, "extra": json.dumps(row["extra"])})

    async def get(self, key: str, where: TaskKey) -> Any:
        return self.values.get((where.task_id, key))

    async def set(self, key: str, value: Any, where: TaskKey) -> None: ...
    async def delete(self, key: str, where: TaskKey) -> None: ...

    async def task_states(self, dag_id: str, run_id: str, only: TaskKey | None = None) -> dict[str, str | None]:
        return dict.fromkeys(TASKS, "failed")


@pytest.mark.timeout(0 if MINUTES else 120)
@pytest.mark.parametrize("conn_id", CONNECTIONS)
def test_a_stop_of_others_goes_out_whatever_one_run_is_answered(
    conn_id: str, sandbox: Sandbox, server: ScriptedServer, known: Recorded, haste: Haste
) -> None:
    numbers = itertools.count()
    run, [search, *_] = known.runs[0], known.subject.searches.values()
    rows = Connections(sandbox)

    def tried(odd: tuple[Odd, ...], tail: int, is_lost: bool) -> None:
        round_ = next(numbers)
        scripts = {name: Script(known.good) for name in TASKS}
        scripts["odd"] = Script(known.good, odd, Odd(turn=tail))
        urls = {name: server.url(f"y{round_}-{name}", script) + prefix_of(known) for name, script in scripts.items()}
        waits = {"odd": ANSWER_SECONDS, "one": PATIENT_SECONDS, "two": PATIENT_SECONDS}
        records = Records(
            {name: rows.row(conn_id, {"timeout": str(waits[name])}, host=url) for name, url in urls.items()}
        )
        for name, where in TASKS.items():
            conn = records.conn(name)
            access = hook_class(run.vendor).access_of(conn, conn.extra_dejson)
            if name == "odd" and is_lost:
                lost = start_of(search, Owner(where, 1), access, datetime.fromtimestamp(haste.now() - 300, UTC))
                records.values[name, AUDIT_KEY] = {"state": STARTING, "start": lost}
            else:
                owned = dataclasses.replace(run, conn_id=name, owner=Owner(where, 1))
                records.values[name, HANDLE_KEY] = handle_of(owned, access)

        async def go() -> list[Report]:
            try:
                return await DagRunStop(records, "harvest", "manual__1", NOTE, timeout=3.0).run()
            finally:
                await close_session()

        with checking(haste, secrets(sandbox, access)):
            reports = asyncio.run(go())
            haste.said += [str(report.error) for report in reports]
        for name in ("one", "two"):
            [report] = [one for one in reports if one.where == TASKS[name]]
            assert report.result is not None, report
            assert [path for method, path in scripts[name].heard if method == "POST" and STOPS.search(path)]
        assert not server.led_away, "something was sent to another host"
        for name in TASKS:
            server.forget(f"y{round_}-{name}")

    fuzz(2, tried, odd=answers.script, tail=st.integers(0, 7), is_lost=st.booleans())


STOPS = re.compile(r"/(stop|terminate|cancel)\b")


# -- nothing is left out -----------------------------------------------------------------------------------


def flow_functions() -> dict[Any, str]:
    """Return the code of every public function of the vendors that returns a flow, and its name."""
    found = {}
    for module in pkgutil.walk_packages(vendors.__path__, vendors.__name__ + "."):
        here = vars(importlib.import_module(module.name))
        classes = [one for one in here.values() if isinstance(one, type) and one.__module__ == module.name]
        for name, function in [*here.items(), *(pair for one in classes for pair in vars(one).items())]:
            returned = str(getattr(function, "__annotations__", {}).get("return", ""))
            if returned.startswith("Flow[") and not name.startswith("_") and inspect.isgeneratorfunction(function):
                found[function.__code__] = function.__module__ + "." + function.__qualname__
    return found


def test_every_public_flow_of_every_vendor_is_driven(recorded: Callable[[str], Recorded]) -> None:
    driven = {code for conn_id in CONNECTIONS for code in recorded(conn_id).driven}
    assert {"status", "ask_stop"} <= {name.rpartition(".")[2] for name in flow_functions().values()}
    assert [name for code, name in flow_functions().items() if code not in driven] == []


def test_every_vendor_is_among_them(recorded: Callable[[str], Recorded]) -> None:
    tried = {type(recorded(conn_id).subject.vendor) for conn_id in CONNECTIONS}
    assert set(VENDORS.values()) == tried


def test_every_operation_that_a_vendor_need_not_have_is_driven_where_it_has_it(
    recorded: Callable[[str], Recorded],
) -> None:
    for conn_id in CONNECTIONS:
        subject, driven = recorded(conn_id).subject, recorded(conn_id).driven
        for name in dir(type(subject.vendor)):
            method = getattr(type(subject.vendor), name)
            if not name.startswith("_") and inspect.isgeneratorfunction(method):
                assert method.__code__ in driven, f"{name} of {conn_id}"
