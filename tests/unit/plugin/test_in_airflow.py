"""Every process of Airflow that loads plugins loads ours, Airflow 2.11 too: it takes it, and pays nothing for it."""

from __future__ import annotations

from tests.unit.package.test_imports import added, among

HEAVY = {"fastapi", "starlette", "pydantic", "httpx", "sqlalchemy", "requests", "aiohttp", "cryptography"}


def test_whoever_loads_plugins_loads_nothing_but_the_door() -> None:
    found = added(["airflow_runctl.plugin.in_airflow"], "import airflow.plugins_manager")
    [new] = found.values()
    ours = {name for name in new if name.startswith(("airflow_runctl.", "airflow."))}
    assert ours == {f"airflow_runctl.plugin{part}" for part in ("", ".door", ".in_airflow", ".scripts")}
    assert among(HEAVY, found) == {}


def test_airflow_takes_the_plugin() -> None:
    from airflow import plugins_manager

    from airflow_runctl.plugin.in_airflow import RunctlPlugin

    plugins_manager.ensure_plugins_loaded()
    assert plugins_manager.is_valid_plugin(RunctlPlugin)
    [app] = RunctlPlugin().fastapi_apps
    assert (app["url_prefix"], callable(app["app"])) == ("/runctl", True)
