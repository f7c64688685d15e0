"""Whoever may not, is refused: each route of the API is tried, so that a new one cannot be forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_runctl.plugin.app import app
from airflow_runctl.plugin.login import actor, check_site, reader
from tests.unit.plugin.conftest import SITE, World

READ_ONLY = {"GET", "HEAD"}

ROUTES = [(method, route) for route in app.routes for method in sorted(getattr(route, "methods", None) or {"GET"})]
IDS = [f"{method} {route.path}" for method, route in ROUTES]  # type: ignore[attr-defined]

BODIES: dict[str, dict[str, Any]] = {"/test": {"conn_id": "bctrl_default"}}
"""What a route is asked that takes more than ``dag_id``."""

each_route = pytest.mark.parametrize(("method", "route"), ROUTES, ids=IDS)
each_acting_route = pytest.mark.parametrize(
    ("method", "route"),
    [one for one in ROUTES if one[0] not in READ_ONLY],
    ids=[name for name in IDS if name.partition(" ")[0] not in READ_ONLY],
)


def ask(client: Any, method: str, route: Any) -> Any:
    path = "/runctl" + route.path.replace("{run_id:path}", "one")
    assert "{" not in path, f"say how {route.path} is asked"
    body = None if method in READ_ONLY else BODIES.get(route.path, {"dag_id": "nightly"})
    return client.request(method, path, json=body)


def dependencies(dependant: Any) -> set[Any]:
    return {dependant.call}.union(*(dependencies(inner) for inner in dependant.dependencies))


@each_route
def test_a_route_asks_what_the_user_may(method: str, route: Any) -> None:
    wanted = {reader, actor} if method in READ_ONLY else {actor}
    assert wanted & dependencies(route.dependant) or route.path in BODIES


@each_route
def test_without_a_login_nothing_is_answered(world: World, method: str, route: Any) -> None:
    answer = ask(world.stranger(), method, route)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


@each_route
def test_a_token_that_is_none_is_refused(world: World, method: str, route: Any) -> None:
    client = world.stranger()
    client.headers["Authorization"] = "Bearer no.such.token"
    assert ask(client, method, route).status_code == 403


@each_route
def test_a_login_without_the_right_is_refused(world: World, method: str, route: Any) -> None:
    world.add("nightly", handle=world.handle("one"))
    roles = [None] if method in READ_ONLY else [None, "viewer"]
    for role in roles:
        answer = ask(world.client(role), method, route)
        assert answer.status_code == 403, answer.text
        assert "lacks the right" in answer.json()["detail"]


@pytest.fixture
def by_dag(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the Dags that a user may edit; asked of none, FAB's manager looks at the task instances alone."""
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    before, mine = SimpleAuthManager.is_authorized_dag, set[str]()

    def is_authorized(self: Any, *, access_entity: Any = None, details: Any = None, **more: Any) -> bool:
        if not before(self, access_entity=access_entity, details=details, **more):
            return False
        if details and details.id:
            return details.id in mine
        return access_entity is not None or more["method"] == "GET"

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", is_authorized)
    return mine


@each_acting_route
def test_a_login_that_may_edit_task_instances_but_no_dag_is_refused(
    world: World, by_dag: set[str], method: str, route: Any
) -> None:
    if route.path in BODIES:
        pytest.skip("asks for no right to a Dag")
    world.dag("nightly", "load")
    answer = world.client().request(method, f"/runctl{route.path}", json={"vendor": "bctrl"})
    assert (answer.status_code, answer.json()) == (
        *(403, {"detail": "The login lacks the right to edit task instances of any Dag."}),
    )


def test_a_login_that_may_edit_one_dag_alone_may_act(world: World, by_dag: set[str]) -> None:
    world.dag("nightly", "load")
    by_dag.add("nightly")
    assert world.client().post("/runctl/stop", json={"vendor": "bctrl"}).status_code == 200


@each_route
@pytest.mark.parametrize("cookie", [False, True], ids=["token", "cookie"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://testserver:8080"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
def test_another_site_is_refused(world: World, method: str, route: Any, headers: dict[str, str], cookie: bool) -> None:
    answer = ask(world.client(cookie=cookie, **headers), method, route)
    assert (answer.status_code, answer.json()) == (403, {"detail": "The request comes from another site."})


@each_acting_route
def test_with_a_cookie_alone_nothing_is_done(world: World, method: str, route: Any) -> None:
    answer = ask(world.client(cookie=True), method, route)
    assert answer.status_code == 403
    assert "name its origin" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers", [{"origin": SITE}, {"origin": "https://testserver"}, {"sec_fetch_site": "same-origin"}]
)
def test_a_page_of_airflows_own_is_heard(world: World, headers: dict[str, str]) -> None:
    assert world.client("viewer", cookie=True, **headers).get("/runctl/runs").status_code == 200


def test_a_token_in_the_header_wins_over_a_cookie(world: World) -> None:
    client = world.client(None)
    client.cookies.set("_token", world.token("admin"))
    assert client.get("/runctl/runs").status_code == 403


def test_sites_that_airflow_is_configured_for_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team")
    monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "https://portal.example:8443")
    for origin in ("https://airflow.example", "https://portal.example:8443", "http://inner:8080"):
        check_site("POST", {"origin": origin, "host": "inner:8080"}, by_cookie=True)
    with pytest.raises(Exception, match="another site"):
        check_site("POST", {"origin": "https://portal.example", "host": "inner:8080"}, by_cookie=False)
