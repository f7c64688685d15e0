"""Airflow finds the plugin, mounts it, and pays for it with the first request; a fault in it harms nobody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_runctl.plugin.door import OUT_OF_ORDER, Door
from tests.unit.plugin.conftest import World


def mounted_door(app: Any) -> Door:
    [door] = [route.app for route in app.routes if getattr(route, "path", "") == "/runctl"]
    assert isinstance(door, Door)
    return door


def test_airflow_mounts_the_door(airflow_app: Any) -> None:
    mounted_door(airflow_app)


def test_airflow_can_tell_of_the_plugin(world: World) -> None:
    answer = world.client().get("/api/v2/plugins")
    assert answer.status_code == 200, answer.text
    [ours] = [plugin for plugin in answer.json()["plugins"] if plugin["name"] == "runctl"]
    [app] = ours["fastapi_apps"]
    assert (app["name"], app["url_prefix"]) == ("runctl", "/runctl")
    assert app["app"].endswith("Door")


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that cannot be imported, for what another package is to blame."""
    (tmp_path / "broken_api.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "broken_api"


def test_an_api_that_cannot_be_loaded_leaves_the_server_as_it_is(
    world: World, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door = mounted_door(world.app)
    for name, value in vars(Door(broken)).items():
        monkeypatch.setattr(door, name, value)
    for _ in range(2):
        answer = world.client().get("/runctl/runs")
        assert (answer.status_code, answer.json()) == (503, {"detail": OUT_OF_ORDER})
    assert world.client().get("/api/v2/dags").status_code == 200
    [said] = [record for record in caplog.records if record.name == "airflow_runctl.plugin.door"]
    assert said.exc_info is not None
    assert "no_such_package" in str(said.exc_info[1])


def test_an_error_that_nobody_foresaw_says_nothing_but_its_kind(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow_runctl.compat import api_server

    def fail(*arguments: object) -> None:
        raise OSError("password=a-secret")

    monkeypatch.setattr(api_server.Rights, "any_dag", fail)
    answer = world.client().get("/runctl/runs")
    assert answer.status_code == 500
    assert "OSError" in answer.json()["detail"]
    assert "a-secret" not in answer.text
    assert [record.exc_info for record in caplog.records if record.name == "airflow_runctl.plugin.app"]


def test_a_database_that_does_not_answer_is_named_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_runctl.compat import tables

    def fail(*arguments: object) -> None:
        raise RuntimeError("postgresql://user:a-secret@host")

    monkeypatch.setattr(tables, "create_session", fail)
    answer = world.client().get("/runctl/runs")
    assert (answer.status_code, answer.json()) == (503, {"detail": "Airflow's database does not say (RuntimeError)."})


def test_the_description_names_where_it_lies(world: World) -> None:
    described = world.client("viewer").get("/runctl/openapi.json").json()
    assert described["servers"] == [{"url": "/runctl"}]
    assert "/runs" in described["paths"]
    assert json.dumps(described["components"]["securitySchemes"]).count('"_token"') == 1
