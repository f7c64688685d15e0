"""Whatever is asked, be it as the API describes it or not: no answer is an error of the server."""

from __future__ import annotations

from typing import Any

from airflow_runctl.plugin.app import app
from tests.unit.plugin.conftest import SITE, World

QUESTIONS = 12
"""For each route."""


def test_no_question_is_an_error_of_the_server(world: World) -> None:
    # Imported here: every process collects this file, and one runs it.
    from schemathesis.openapi import from_dict
    from schemathesis.python.asgi import get_client

    # Tasks that are over: an answer waits for nothing.
    world.add("nightly", "load", "failed", handle=world.handle("one"))
    world.add("nightly", "odd", "failed", handle={"run_id": ["\ud800"], "url": 7, "started_at": {}, "token": None})
    schema = from_dict({**app.openapi(), "servers": [{"url": f"{SITE}/runctl"}]})
    schema.app = app  # so that it is asked in this process
    operations = [result.ok() for result in schema.get_all_operations()]
    asked = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert {operation.label for operation in operations} == asked
    with get_client(world.app) as client:
        client.headers["Authorization"] = f"Bearer {world.token('admin')}"
        for operation in operations:
            _ask(world, client, operation)


def _ask(world: World, client: Any, operation: Any) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.strategies import one_of
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    checks = (not_a_server_error, status_code_conformance, response_schema_conformance)
    answers = set()

    @given(one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    @settings(
        max_examples=QUESTIONS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        response = case.call(session=client, app=world.app)
        answers.add(response.status_code)
        case.validate_response(response, checks=checks)

    ask()
    assert answers - {500}, f"nothing was asked of {operation.label}"
