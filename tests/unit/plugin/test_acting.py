"""The routes that act, on Airflow's own application, with runs at the sandbox: each way, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_runctl.compat import page_tables, tables
from airflow_runctl.control import end_owner
from airflow_runctl.control.by_hand import Hand
from airflow_runctl.control.channel_source import ChannelSource, Nobody
from airflow_runctl.control.errands import DAG_ID, OUTCOME_KEY, TASK_ID, Act, Errand, digest_of, do
from airflow_runctl.control.stop_many import Connections as Opened
from airflow_runctl.exceptions import RunctlError
from airflow_runctl.plugin import ways
from airflow_runctl.plugin.channel import TablesChannel
from airflow_runctl.plugin.itself import Itself
from airflow_runctl.runs import TaskKey
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.aio import in_own_loop
from tests.unit.connections import Connections
from tests.unit.known_runs import Runs
from tests.unit.plugin.conftest import AUDIT, HANDLE, SITE, World

pytestmark = pytest.mark.usefixtures("brisk")

NO_DAG = "There is no Dag runctl_maintenance"


class Recorded(World):
    """The database, as ``Runs`` adds to it."""

    def add(self, where: TaskKey, handle: Any, state: str | None = "running", dag_run: str = "running") -> Any:
        return World.add(self, where.dag_id, where.task_id, state, dag_run, handle, run_id=where.run_id)


@pytest.fixture
def runs(world: World, box: Sandbox, connections: Connections, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs at the sandbox that tasks of this Airflow have recorded; its server can read their connections."""
    for conn_id, row in connections.rows.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(row))
    monkeypatch.setattr(end_owner, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(ways, "LOOK_EVERY", 0.05)
    return Runs(box, Recorded(world.app), connections)


@pytest.fixture
def acts_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__RUNCTL__ACT_IN_API_SERVER", "True")


Ask = Callable[..., Any]


@pytest.fixture
def ask(world: World, box: Sandbox) -> Ask:
    """Ask the API as a user of a role, and look for secrets in what it answers."""

    def asking(path: str, role: str | None = "user", status: int = 200, **body: Any) -> Any:
        answer = world.client(role).post(f"/runctl/{path}", json={"timeout": 2, **body})
        assert box.seed not in answer.text
        assert answer.status_code == status, answer.text
        return answer.json()

    return asking


@pytest.fixture
def kill(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that is marked as failed is killed, and stops its run."""
    marked = Itself.fail

    async def fail(self: Itself, where: TaskKey, note: str | None) -> None:
        await marked(self, where, note)
        row = tables.stored(HANDLE, where)
        assert row is not None
        runs.box.set_run(row[0]["run_id"], "stopped")
        stop = {"reason": "user", "by": "worker", "asked_at": "", "outcome": "stopped", "seconds": 0.1}
        shown = {name: row[0][name] for name in ("run_id", "started_at")}
        tables.store(AUDIT, {**shown, "state": "stopped", "stop": stop}, where)
        tables.drop(HANDLE, where)

    monkeypatch.setattr(Itself, "fail", fail)


@pytest.fixture
def maintenance(world: World, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The maintenance Dag, and a worker that does each errand at once; return what it was told."""
    world.dag(DAG_ID, TASK_ID)
    told: list[dict[str, Any]] = []
    asked = Itself.ask

    async def dag_run_state(dag_id: str, run_id: str) -> str | None:
        return tables.dag_run_state(dag_id, run_id)

    async def ask(self: Itself, method: str, *path: str, **more: Any) -> Any:
        answer = await asked(self, method, *path, **more)
        if (method, path[-1]) == ("POST", "dagRuns"):
            told.append(answer["conf"])
            errand, channel = Errand.read(answer["conf"]), TablesChannel()
            source = ChannelSource(channel, dag_run_state, errand.runs)
            hand = Hand(source, Nobody(), channel, Opened(channel), "worker", errand.reason, errand.timeout)
            tables.store(
                OUTCOME_KEY, await ways.apart(do(errand, hand)), TaskKey(DAG_ID, answer["dag_run_id"], TASK_ID)
            )
        return answer

    monkeypatch.setattr(Itself, "ask", ask)
    return told


# -- through the task ---------------------------------------------------------------------------------------


def test_a_run_whose_task_is_alive_is_stopped_through_its_task(world: World, runs: Runs, ask: Ask, kill: None) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load", "deferred")
    answer = ask("stop", run_id=[run_id], reason="costs too much")
    [done] = answer["runs"]
    assert (done["done"], done["outcome"], answer["may_be_alive"]) == ("task marked as failed", "stopped", False)
    said = "Run stopped by hand: costs too much (user-ann over the API)"
    assert world.state(runs.made[run_id]) == ("failed", said)
    assert runs.open() == set()
    assert world.client("viewer").get("/runctl/runs").json()["total"] == 0


def test_a_page_of_airflows_own_acts_with_the_session_of_its_user(world: World, runs: Runs, kill: None) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load")
    client = world.client("user", cookie=True, origin=SITE)
    answer = client.post("/runctl/stop", json={"run_id": [run_id], "timeout": 2})
    assert [done["outcome"] for done in answer.json()["runs"]] == ["stopped"], answer.text
    assert world.state(runs.made[run_id]) == ("failed", "Run stopped by hand: by user-ann over the API")


class LetsStrangersIn:
    """What FAB's auth manager puts before Airflow's application with ``[fab] auth_role_public``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from airflow.api_fastapi.core_api import security

        if not {b"authorization", b"cookie"} & {name for name, _ in scope.get("headers", ())}:
            trusted = getattr(security, "USER_INJECTED_BY_TRUSTED_MIDDLEWARE", None)
            user = SimpleAuthManagerUser(username="Anonymous", role="user")
            scope.setdefault("state", {}).update(user=user, user_authenticated_via=trusted)
        await self._app(scope, receive, send)


def test_whom_airflow_lets_in_without_a_login_acts_as_that_user(
    world: World, runs: Runs, kill: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.middleware import Middleware

    monkeypatch.setattr(world.app, "user_middleware", [Middleware(LetsStrangersIn), *world.app.user_middleware])
    monkeypatch.setattr(world.app, "middleware_stack", None)
    world.dag("nightly", "load")
    run_id = runs.add("load")
    answer = world.stranger().post("/runctl/stop", json={"run_id": [run_id], "timeout": 2})
    assert [done["outcome"] for done in answer.json()["runs"]] == ["stopped"], answer.text
    assert world.state(runs.made[run_id]) == ("failed", "Run stopped by hand: by Anonymous over the API")


def test_a_mark_that_stops_nothing_is_no_stop(world: World, runs: Runs, ask: Ask) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load")
    answer = ask("stop", run_id=[run_id], timeout=0.1)
    [done] = answer["runs"]
    assert (done["outcome"], answer["may_be_alive"]) == ("requested", True)
    assert "may be alive" in done["error"]
    assert f"On a worker: runctl stop {run_id} --yes" in done["error"]
    assert runs.open() == {run_id}


def test_a_mark_whose_outcome_cannot_be_read_is_told_as_one(
    world: World, runs: Runs, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load")

    def stored(key: str, where: TaskKey) -> Any:
        raise OSError("away")

    monkeypatch.setattr(tables, "stored", stored)
    [done] = ask("stop", run_id=[run_id])["runs"]
    assert (done["done"], done["outcome"]) == ("task marked as failed", "requested")
    assert "Airflow's database does not say (OSError). The run may be alive" in done["error"]
    assert world.state(runs.made[run_id])[0] == "failed"


def test_what_no_kill_has_stopped_the_maintenance_dag_stops(
    world: World, runs: Runs, ask: Ask, maintenance: list[dict[str, Any]]
) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load", "deferred")
    answer = ask("stop", run_id=[run_id], timeout=1)
    [done] = answer["runs"]
    assert (done["done"], done["outcome"], answer["may_be_alive"]) == ("stopped directly", "stopped", False)
    assert (runs.open(), world.state(runs.made[run_id])[0]) == (set(), "failed")
    assert len(answer["dag_run_ids"]) == len(maintenance) == 1


def test_airflows_own_log_of_actions_names_the_user(world: World, runs: Runs, ask: Ask, kill: None) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    world.dag("nightly", "load")
    with create_session() as session:
        before = session.scalar(select(func.max(Log.id))) or 0
    ask("stop", run_id=[runs.add("load")])
    with create_session() as session:
        owners = set(session.scalars(select(Log.owner).where(Log.id > before, Log.dag_id == "nightly")))
    assert owners == {"user-ann"}


def test_a_task_is_not_ended_for_a_handle_that_is_none_of_its_own(world: World, runs: Runs, ask: Ask) -> None:
    world.dag("nightly", "load", "victim")
    run_id = runs.add("load", "failed")
    row = tables.stored(HANDLE, runs.made[run_id])
    assert row is not None
    victim = World.add(world, "nightly", "victim", handle=row[0], run_id="another")
    answer = ask("stop", run_id=[run_id], task_id="victim")
    [done] = answer["runs"]
    assert (done["done"], world.state(victim)) == ("nothing", ("running", None))
    assert "Nothing was stopped" in done["error"]


def test_what_nobody_foresaw_of_one_run_keeps_no_other_from_its_end(
    world: World, runs: Runs, ask: Ask, kill: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.dag("nightly", "load", "odd")
    load, odd = runs.add("load"), runs.add("odd")
    marked = Itself.fail

    async def fail(self: Itself, where: TaskKey, note: str | None) -> None:
        if where.task_id == "odd":
            raise OSError("a-secret")
        await marked(self, where, note)

    monkeypatch.setattr(Itself, "fail", fail)
    answer = ask("stop", run_id=[load, odd])
    done = {one["task"].rpartition("/")[2]: one for one in answer["runs"]}
    assert (done["load"]["outcome"], done["odd"]["outcome"], answer["may_be_alive"]) == ("stopped", None, True)
    assert "not foreseen (OSError)" in done["odd"]["error"]
    assert runs.open() == {odd}


# -- rights ---------------------------------------------------------------------------------------------------


@pytest.fixture
def not_finance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may do more with the Dag ``finance`` than read it."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    before = SimpleAuthManager.is_authorized_dag

    def is_authorized(self: Any, *, method: str, details: Any = None, **more: Any) -> bool:
        if method != "GET" and details and details.id == "finance":
            return False
        return bool(before(self, method=method, details=details, **more))

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)


def test_who_may_read_and_not_edit_one_of_the_dags_stops_nothing(
    world: World, runs: Runs, ask: Ask, not_finance: None
) -> None:
    world.dag("nightly", "load")
    mine, other = runs.add("load"), runs.add("books", dag_id="finance")
    for which in ({"vendor": "bctrl"}, {"run_id": [other]}, {"dag_id": "finance"}):
        said = ask("stop", status=403, **which)["detail"]
        assert said == "The login lacks the right to edit task instances of: finance. Nothing was done."
    assert runs.open() == {mine, other}
    assert world.state(runs.made[mine])[0] == "running"


@pytest.mark.parametrize("path", ["stop", "resume"])
def test_without_a_word_which_runs_nothing_is_done(ask: Ask, path: str) -> None:
    assert "Say which runs" in ask(path, status=422)["detail"]


def test_exactly_those_that_are_named_are_stopped(world: World, runs: Runs, ask: Ask, acts_here: None) -> None:
    """As a page asks: an id may stand for several runs, and a place for another run by now."""
    ids = [runs.add(name, "failed") for name in ("one", "two", "three")]
    places = {
        run_id: {"dag_id": where.dag_id, "dag_run_id": where.run_id, "task_id": where.task_id, "run_id": run_id}
        for run_id, where in runs.made.items()
    }
    moved = {**places[ids[1]], "task_id": "three"}
    answer = ask("stop", runs=[places[ids[0]], moved], reason="wrong")
    assert [done["task"] for done in answer["runs"]] == [str(runs.made[ids[0]])]
    assert runs.open() == set(ids[1:])
    assert ask("stop", runs=[places[ids[1]]], vendor="snaplogic")["runs"] == []
    assert runs.open() == set(ids[1:])


def test_airflows_log_of_actions_has_the_user_and_the_reason(
    world: World, runs: Runs, ask: Ask, acts_here: None
) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    run_id = runs.add("load", "failed")
    ask("stop", run_id=[run_id], dry_run=True)
    ask("resume", run_id=[run_id], reason="on")
    ask("stop", run_id=[run_id], reason="wrong")
    columns = Log.__table__.c
    with create_session() as session:
        ours = select(columns).where(columns.event.like("runctl_%")).order_by(columns.id)
        written = session.execute(ours).mappings().all()[-2:]
    assert [(one["event"], one["owner"], one["dag_id"], one["task_id"]) for one in written] == [
        ("runctl_resume", "user-ann", "nightly", "load"),
        ("runctl_stop", "user-ann", "nightly", "load"),
    ]
    assert json.loads(written[1]["extra"]) == {"vendor": "bctrl", "run_id": run_id, "reason": "wrong"}


def test_a_log_of_actions_that_cannot_be_written_keeps_no_run_alive(
    runs: Runs, ask: Ask, acts_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("full")

    monkeypatch.setattr(page_tables, "note_act", fail)
    [done] = ask("stop", run_id=[runs.add("load", "failed")])["runs"]
    assert (done["outcome"], runs.open()) == ("stopped", set())


def test_an_id_that_is_not_known_stops_nothing(ask: Ask) -> None:
    assert ask("stop", run_id=["no-such-run"]) == {"runs": [], "may_be_alive": False, "dag_run_ids": []}


def test_a_dry_run_does_nothing(world: World, runs: Runs, ask: Ask) -> None:
    run_id = runs.add("load")
    answer = ask("stop", run_id=[run_id], dry_run=True)
    assert [done["done"] for done in answer["runs"]] == ["nothing: a dry run"]
    assert (runs.open(), world.state(runs.made[run_id])) == ({run_id}, ("running", None))


# -- without a live task ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_where_nothing_may_speak_to_vendors_the_command_is_named(
    world: World, runs: Runs, ask: Ask, state: str
) -> None:
    run_id = runs.add("load", state)
    [done] = ask("stop", run_id=[run_id])["runs"]
    assert (done["done"], done["outcome"]) == ("nothing", None)
    assert NO_DAG in done["error"]
    assert f"On a worker: runctl stop {run_id} --yes" in done["error"]
    assert (runs.open(), world.state(runs.made[run_id])[0]) == ({run_id}, state)
    assert "On a worker: runctl sweep" in ask("sweep", status=409)["detail"]
    assert "On a worker: runctl test" in ask("test", "op", 409, conn_id="bctrl_default")["detail"]


def test_the_maintenance_dag_stops_it(world: World, runs: Runs, ask: Ask, maintenance: list[dict[str, Any]]) -> None:
    run_id = runs.add("load", "failed")
    answer = ask("stop", run_id=[run_id], reason="lost")
    [done] = answer["runs"]
    assert (done["done"], done["outcome"], done["error"]) == ("stopped directly", "stopped", None)
    assert (answer["may_be_alive"], runs.open()) == (False, set())
    [conf] = maintenance
    assert len(answer["dag_run_ids"]) == 1
    assert [place[:4] for place in conf["runs"]] == [["nightly", "scheduled__1", "load", -1]]
    assert run_id not in str(conf), "the configuration tells nothing of the run itself"
    assert "token" not in str(conf)


def test_a_database_that_is_away_for_a_moment_makes_no_errand_undone(
    runs: Runs, ask: Ask, maintenance: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = runs.add("load", "failed")
    there, failures = tables.stored, [OSError("away"), OSError("away")]

    def stored(key: str, where: TaskKey) -> Any:
        if key == OUTCOME_KEY and failures:
            raise failures.pop()
        return there(key, where)

    monkeypatch.setattr(tables, "stored", stored)
    [done] = ask("stop", run_id=[run_id])["runs"]
    assert (done["outcome"], done["error"], failures) == ("stopped", None, [])


def test_a_task_that_waits_for_its_next_try_gets_none(
    world: World, runs: Runs, ask: Ask, maintenance: list[dict[str, Any]]
) -> None:
    world.dag("nightly", "load")
    run_id = runs.add("load", "up_for_retry")
    [done] = ask("stop", run_id=[run_id])["runs"]
    assert (done["outcome"], runs.open()) == ("stopped", set())
    assert world.state(runs.made[run_id])[0] == "failed"


def test_the_maintenance_dag_is_started_with_the_rights_of_the_user(
    world: World, runs: Runs, ask: Ask, maintenance: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    before = SimpleAuthManager.is_authorized_dag

    def is_authorized(self: Any, *, details: Any = None, **more: Any) -> bool:
        if details and details.id == DAG_ID and more["method"] == "POST":
            return False
        return bool(before(self, details=details, **more))

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)
    world.dag("nightly", "load")
    run_id = runs.add("load", "up_for_retry")
    [done] = ask("stop", run_id=[run_id])["runs"]
    assert "lacks the right to start the Dag runctl_maintenance" in done["error"]
    assert (done["done"], maintenance, runs.open()) == ("nothing", [], {run_id})
    assert world.state(runs.made[run_id])[0] == "up_for_retry"


def test_a_handle_that_was_exchanged_meanwhile_is_left_alone(runs: Runs) -> None:
    run_id, other = runs.add("load", "failed"), runs.add("other", "failed")
    where, wrong = runs.made[run_id], runs.made[other]
    row = tables.stored(HANDLE, wrong)
    assert row is not None
    errand = Errand.read(Errand(Act.STOP, runs={where: digest_of(row[0])}).out())
    channel = TablesChannel()

    async def unknown(dag_id: str, run_id: str) -> None:
        return None

    source = ChannelSource(channel, unknown, errand.runs)
    outcome = in_own_loop(do(errand, Hand(source, Nobody(), channel, Opened(channel), "worker")))
    assert "its handle is gone" in outcome["runs"][0]["error"]
    assert runs.open() == {run_id, other}


def test_the_api_server_stops_it_itself_where_it_may(world: World, runs: Runs, ask: Ask, acts_here: None) -> None:
    run_id = runs.add("load", "failed")
    [shown] = world.client("viewer").get(f"/runctl/runs/{run_id}").json()["runs"]
    assert shown["now"].endswith("(running)")
    answer = ask("stop", run_id=[run_id], reason="lost")
    [done] = answer["runs"]
    assert (done["done"], done["outcome"], answer["dag_run_ids"]) == ("stopped directly", "stopped", [])
    assert runs.open() == set()
    row = tables.stored(AUDIT, runs.made[run_id])
    assert row is not None
    assert row[0]["stop"]["by"] == "user-ann over the API"
    assert row[0]["stop"]["text"] == "lost (user-ann over the API)"
    assert tables.stored(HANDLE, runs.made[run_id]) is None


def test_a_setting_without_sense_is_named(runs: Runs, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__RUNCTL__ACT_IN_API_SERVER", "maybe")
    run_id = runs.add("load", "failed")
    for path in ("stop", "resume"):
        said = ask(path, status=409, run_id=[run_id])["detail"]
        assert said == "[runctl] act_in_api_server is neither true nor false. Nothing was done."


def test_a_vendor_that_cannot_resume_says_so(runs: Runs, ask: Ask, acts_here: None) -> None:
    run_id = runs.add("load", "failed")
    [done] = ask("resume", run_id=[run_id])["runs"]
    assert (done["done"], done["outcome"]) == ("nothing", None)
    assert done["error"]


# -- sweeps and tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["acts_here", "maintenance"])
def test_a_sweep_stops_what_nobody_owns(
    world: World, runs: Runs, ask: Ask, way: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(way)
    alive, orphan = runs.add("alive"), runs.add("orphan", "failed")
    runs.alive("stranger")
    before = runs.open()
    rules = {"min_age": 0, "look_again": 0}
    dry = ask("sweep", **rules)
    assert [(run["finding"], run["outcome"]) for run in dry["runs"]] == [("orphan", None)]
    assert (dry["may_be_alive"], runs.open()) == (True, before)
    assert ask("sweep", dry_run=False, max_orphans=0, **rules)["refused"]
    assert runs.open() == before
    swept = ask("sweep", dry_run=False, **rules)
    assert [(run["finding"], run["outcome"]) for run in swept["runs"]] == [("orphan", "stopped")]
    assert runs.open() == before - {orphan}
    assert alive in runs.open()
    assert "stranger" not in str(swept)


@pytest.mark.parametrize("way", ["acts_here", "maintenance"])
def test_a_sweep_looks_at_no_dag_that_the_user_may_not_edit(
    runs: Runs, ask: Ask, way: str, not_finance: None, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(way)
    runs.add("load", "failed")
    other = runs.add("books", "failed", dag_id="finance")
    for scope in ({}, {"dag_id": "finance"}):
        swept = ask("sweep", min_age=0, look_again=0, dry_run=False, **scope)
        assert "finance" not in str(swept)
        assert other not in str(swept)
    assert runs.open() == {other}


@pytest.mark.parametrize("way", ["acts_here", "maintenance"])
def test_a_connection_is_tried(runs: Runs, ask: Ask, way: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(way)
    assert ask("test", "op", conn_id="bctrl_default")["worked"] is True
    assert "lacks the right" in ask("test", "user", 403, conn_id="bctrl_default")["detail"]


@pytest.mark.parametrize("conn_id", ["no_such_connection", "postgres_default"])
def test_a_connection_that_is_none_of_ours_is_told(
    ask: Ask, acts_here: None, conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"conn_type": "postgres", "password": "a-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", json.dumps(row))
    said = ask("test", "op", 409, conn_id=conn_id)["detail"]
    assert "a-secret" not in said
    assert ("cannot be read" in said) or ("No installed package knows" in said)


# -- errands ------------------------------------------------------------------------------------------------------


def test_an_errand_comes_back_as_it_was() -> None:
    errand = Errand.read(json.loads(json.dumps(Errand(Act.STOP, runs={TaskKey("d", "r", "t", 3): "s"}).out())))
    assert errand.runs == {TaskKey("d", "r", "t", 3): "s"}
    assert errand.dry_run is True


@pytest.mark.parametrize("conf", [None, {}, [], {"act": "drop"}, {**Errand(Act.STOP).out(), "timeout": "soon"}])
def test_what_is_no_errand_is_refused(conf: Any) -> None:
    with pytest.raises(RunctlError, match="is no errand"):
        Errand.read(conf)
