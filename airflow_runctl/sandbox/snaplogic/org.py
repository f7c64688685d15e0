"""SnapLogic's org: its tasks, its credentials, and what the start of a task makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Final, Literal
from urllib.parse import quote

from airflow_runctl.sandbox.runs import now
from airflow_runctl.sandbox.snaplogic.runs import (
    LOGIN,
    TERMINAL,
    ULTRA,
    SnapLogicBehaviour,
    SnapLogicRun,
    first_steps,
    last_steps,
    task_segments,
)
from airflow_runctl.sandbox.vendor import Settings, Vendor
from airflow_runctl.sandbox.wire import Answer, Call, Refused, as_json

PROJECT: Final = "/Acme/projects/sales"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapLogicSettings(Settings):
    """Switches of the whole org.

    :param basic_enabled: False: the public API answers every Basic call with 403. [doc]
    :param concurrent_limit: Cloud URL triggers at once, 429 beyond; None enforces nothing.
    :param daily_limit: Cloud URL triggers a day, 429 beyond; None enforces nothing.
    :param trigger_seconds: how long a trigger call may stay open; the documented 15 minutes.
    :param stop_body: older pages say that a stop has no answer body; other calls have the envelope. [unknown]
    :param finished_stop_status: answer to a stop of a run that is over. [unknown]
    :param errors_as_200: errors of the public API come with HTTP 200, the true status only in
        ``http_status_code``; some public clients read nothing else. [unknown]
    """

    basic_enabled: bool = True
    concurrent_limit: int | None = None
    daily_limit: int | None = None
    trigger_seconds: float = 900.0
    stop_body: Literal["empty", "envelope"] = "empty"
    finished_stop_status: int = 400
    errors_as_200: bool = False


class Org(Vendor[SnapLogicBehaviour, SnapLogicSettings, SnapLogicRun]):
    """The control plane; an org exists if it has a task."""

    name: ClassVar[str] = "snaplogic"
    mount: ClassVar[tuple[str, ...]] = ("snaplogic",)
    default = SnapLogicBehaviour()
    default_settings = SnapLogicSettings()

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.password = f"snaplogic-password-{seed}"
        self.task_token = f"snaplogic-task-token-{seed}"
        self.jwt = f"snaplogic-jwt-{seed}"

    def reset(self) -> None:
        super().reset()
        self.disabled: set[str] = set()
        """Tasks that are switched off."""

    def catalogue(self) -> dict[str, SnapLogicBehaviour]:
        refused = SnapLogicBehaviour(message="target refused the row", resolution="check the column type")
        tasks = {
            "load-orders": SnapLogicBehaviour(),
            "hang": SnapLogicBehaviour(run_seconds=None),
            "load_orders": SnapLogicBehaviour(run_seconds=None),
            "fail": replace(refused, run_seconds=1.0, end="Failed"),
            "suspend": replace(refused, suspend_after_seconds=1.0),
            "early": SnapLogicBehaviour(answers="early"),
            "early-hang": SnapLogicBehaviour(answers="early", run_seconds=None),
            "ultra": SnapLogicBehaviour(answers="early", run_seconds=None, invoker=ULTRA),
        }
        return {f"{PROJECT}/{name}": behaviour for name, behaviour in tasks.items()}

    def key(self, name: str) -> str:
        """Take a bare name for a task of /Acme/projects/sales; a path has its segments percent-encoded."""
        return name if name.startswith("/") else f"{PROJECT}/{quote(name, safe='')}"

    def start_run(self, key: str, inputs: object) -> SnapLogicRun:
        behaviour = self.behaviours[key]
        org, *project, task = task_segments(key)
        org_id = hashlib.sha256(org.encode()).hexdigest()[:24]
        run = SnapLogicRun(
            vendor=self.name,
            run_id=f"{org_id}_{uuid.uuid4()}",  # [doc] 61 characters
            name=task,
            key=key,
            terminal=TERMINAL,
            inputs=inputs,
            created_at=now() - timedelta(seconds=behaviour.age_seconds),
            org=org,
            project="/" + "/".join((org, *project)),
            pipeline=behaviour.pipeline or task,
            invoker=behaviour.invoker,
            visible_at=now() + timedelta(seconds=behaviour.list_delay_seconds),
        )
        if behaviour.invoker == ULTRA:
            run.on_end = lambda: self._replace_ultra(run)
        run.follow(*first_steps(behaviour), *last_steps(behaviour, suspends=True))
        return self.add(run)

    def _replace_ultra(self, run: SnapLogicRun) -> None:
        """[doc] The platform keeps the wanted number of Ultra instances: one that was stopped is replaced."""
        if run.key not in self.disabled:
            self.start_run(run.key, run.inputs)

    # Credentials and refusals

    def check_credential(self, call: Call, operation: str) -> None:
        """Refuse a wrong credential with 401: [doc] for a task token, [inferred] for the public API.

        A task has a token of its own, or takes Basic; the JWT of the public API is another credential. [doc]
        A JWT is made anew all the time, so any bearer that begins with the sandbox's JWT counts as one.
        """
        scheme, _, value = call.headers.get("Authorization", "").partition(" ")
        scheme = scheme.lower()
        if operation != "start" and scheme == "basic" and not self.settings.basic_enabled:
            raise Refused(403, "Basic authentication is not allowed for this environment")
        bearer = _same(value, self.task_token) if operation == "start" else value.startswith(self.jwt)
        basic = _same(value, base64.b64encode(f"{LOGIN}:{self.password}".encode()).decode())
        if not {"bearer": bearer, "basic": basic}.get(scheme, False):
            raise Refused(401, "Authentication failed")

    def refusal(self, call: Call, refused: Refused) -> Answer:
        """[code] The error body as the vendor's own library reads it."""
        status = 200 if self.settings.errors_as_200 else refused.status
        error = {"error_list": [{"message": refused.message}]}
        return as_json(
            {"response_map": error, "http_status_code": refused.status},
            status,
            {"X-SL-StatusCode": str(status)},
        )

    def check_org(self, call: Call) -> str:
        org = call.args["org"]
        if org not in {task_segments(key)[0] for key in self.behaviours}:
            raise Refused(404, f"no environment {org}")  # [inferred]
        return org


def _same(value: str, wanted: str) -> bool:
    return hmac.compare_digest(value.encode(), wanted.encode())
