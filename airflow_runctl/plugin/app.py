"""The API itself, below ``/runctl``: its routes, and what an error is answered with."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from airflow_runctl import __version__
from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable, RunctlError, WrongArgument
from airflow_runctl.plugin import acting, archive, history, reading
from airflow_runctl.plugin.login import Reader
from airflow_runctl.plugin.words import Refusal

log = logging.getLogger(__name__)

STATUS: Final[dict[type[RunctlError], int]] = {WrongArgument: 422, AirflowRefused: 403, AirflowUnreachable: 503}
OTHERWISE: Final = 409

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Refusal, "description": "No login, or none that is taken"},
    403: {"model": Refusal, "description": "The login lacks the right, or the request comes from another site"},
    422: {"model": Refusal, "description": "The question makes no sense; nothing was done"},
    503: {"model": Refusal, "description": "Airflow does not say; nothing was done"},
}

app = FastAPI(
    title="airflow-runctl",
    version=__version__,
    description="Runs that Airflow has started elsewhere and that may be alive: of the Dags whose task instances the "
    "user may read; acting takes the right to edit them.",
    # These would answer without a login.
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    responses=REFUSALS,
)
app.include_router(reading.router)
app.include_router(history.router)
app.include_router(archive.router)
app.include_router(acting.router)


@app.get("/openapi.json", include_in_schema=False)
def description(reader: Reader, request: Request) -> Response:
    """Return the description of this API."""
    return _json(200, {**app.openapi(), "servers": [{"url": request.scope.get("root_path") or "/"}]})


@app.exception_handler(RequestValidationError)
async def senseless(request: Request, error: RequestValidationError) -> Response:
    """Answer a question without sense, and repeat nothing of it but the names of its fields."""
    said = [{"loc": [str(part) for part in one["loc"]], "msg": one["msg"]} for one in error.errors()]
    return _json(422, {"detail": said})


@app.exception_handler(RunctlError)
async def refused(request: Request, error: RunctlError) -> Response:
    """Answer with what an error of ours says; those hold no secret."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), OTHERWISE)
    return _json(status, {"detail": str(error)})


@app.exception_handler(Exception)
async def unforeseen(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw with nothing of it: what it says may hold anything. The server's log has it all."""
    log.error("%s %s: an error that was not foreseen", request.method, request.url.path, exc_info=error)
    return _json(500, {"detail": f"An error that was not foreseen ({type(error).__name__}); the server's log has it."})


def _json(status: int, content: Any) -> Response:
    """Return JSON of ASCII alone: half a surrogate pair can be said so, and in no other way."""
    return Response(json.dumps(content), status, media_type="application/json")
