"""Calls of Airflow's REST API (``/api/v2``) with the official client; what is refused says which right is missing.

The client's own reading of answers is left out: it fails over whatever a newer or older Airflow adds to an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from airflow_runctl.control.inventory import AT_ONCE
from airflow_runctl.exceptions import AirflowRefused, AirflowUnreachable
from airflow_runctl.rest.answers import detail_in

T = TypeVar("T")

SECONDS: Final = 30.0
"""For one answer."""

CA_FILES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Where the environment names a CA file; the first that does."""

NO_SUCH: Final = 404

NOT_TAKEN: Final = "Invalid JWT token"
"""What Airflow says with 403 of a token that is none, or another Airflow's."""


@dataclass(frozen=True, slots=True)
class Login:
    """At which Airflow, and as whom.

    :param url: address of the API server, without ``/api/v2``.
    :param token: a token of the user who asks.
    """

    url: str
    token: str = field(repr=False)


class Calls:
    """Makes calls, several at once.

    :param login: at which Airflow, and as whom.
    """

    def __init__(self, login: Login) -> None:
        from airflow_client.client import ApiClient, Configuration
        from urllib3 import Retry

        settings = Configuration(host=login.url, access_token=login.token)
        settings.connection_pool_maxsize = AT_ONCE
        settings.ssl_ca_cert = next(filter(None, map(os.environ.get, CA_FILES)), None)
        settings.retries = Retry(total=2, redirect=0, backoff_factor=0.1, status=0)
        self.client = ApiClient(settings)
        self.url = login.url
        self.made = 0
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="runctl-rest")

    async def ask(self, call: Callable[..., Any], *path: Any, to: str, right: str, **more: Any) -> Any:
        """Make a call, and return its answer as JSON; ``None`` if what it is about does not exist.

        :param call: a method of the client that leaves the answer as it is.
        :param to: ends the sentence "Airflow refuses to ...".
        :param right: the right that it takes.
        :raises AirflowRefused: if the login is not taken, or lacks the right.
        :raises AirflowUnreachable: if there is no answer, or none that makes sense.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._answer(call, path, to, right, more))

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> tuple[int, bytes]:
        """Make a call that the client has no method for; return status and body.

        :param path: below the address, with what is odd in it encoded.
        :param seconds: for the answer.
        :raises AirflowUnreachable: if there is no answer.
        """
        headers = {"Authorization": f"Bearer {self.client.configuration.access_token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = f"{self.url}{path}"

        def call() -> tuple[int, bytes]:
            response = self.client.call_api(method, url, headers, body, _request_timeout=seconds)
            return int(response.status), bytes(response.read() or b"")  # type: ignore[no-untyped-call]

        return await asyncio.get_running_loop().run_in_executor(self._threads, self._heard, call)

    def _heard(self, call: Callable[[], T]) -> T:
        from urllib3.exceptions import HTTPError

        self.made += 1
        try:
            return call()
        except HTTPError as error:
            raise AirflowUnreachable(f"Airflow at {self.url} does not answer ({_cause(error)}).") from error

    def _answer(self, call: Callable[..., Any], path: Any, to: str, right: str, more: Mapping[str, Any]) -> Any:
        def called() -> tuple[int, bytes]:
            response = call(*path, **more, _request_timeout=SECONDS)
            return int(response.status), bytes(response.data or b"")

        status, body = self._heard(called)
        if status == NO_SUCH:
            self._check_that_it_speaks(body)
            return None
        if status in (401, 403):
            raise self.refusal(status, body, to, right)
        if not 200 <= status < 300:
            raise AirflowUnreachable(f"Airflow at {self.url} cannot {to} now (HTTP {status}{detail_in(body)}).")
        return self._read(body, status)

    def refusal(self, status: int, body: bytes, to: str, right: str) -> AirflowRefused:
        """Return what a refused login, or a right that it lacks, is said with."""
        if status == 401 or NOT_TAKEN in detail_in(body):
            return AirflowRefused(
                f"Airflow at {self.url} does not take the token (HTTP {status}{detail_in(body)}): it may have expired. "
                "Log in again with airflowctl, or set AIRFLOW_CLI_TOKEN."
            )
        return AirflowRefused(
            f"Airflow at {self.url} refuses to {to} (HTTP 403{detail_in(body)}): the login lacks the right to {right}."
        )

    def _read(self, body: bytes, status: int) -> Any:
        if not body:
            return {}
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._not_airflow(f"HTTP {status}") from error

    def _check_that_it_speaks(self, body: bytes) -> None:
        """Tell "there is no such thing" from "there is no such API": Airflow 2.11 has another one.

        :raises AirflowUnreachable: in the second case.
        """
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, Mapping) or answer.get("detail") in (None, "Not Found"):
            raise self._not_airflow("HTTP 404")

    def _not_airflow(self, seen: str) -> AirflowUnreachable:
        return AirflowUnreachable(
            f"{self.url} is no Airflow 3 ({seen} at /api/v2). Check the address; Airflow 2.11 has another API, over "
            "which runs cannot be listed."
        )


def awaited(doing: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own, and end with it what speaks to vendors, where that is installed."""
    try:
        from airflow_runctl.transport.aio import in_own_loop
    except ImportError:
        return asyncio.run(doing)
    return in_own_loop(doing)


def _cause(error: BaseException) -> str:
    """Return what lies beneath an error of urllib3, without addresses."""
    inner = getattr(error, "reason", None)
    return type(inner if isinstance(inner, BaseException) else error).__name__
