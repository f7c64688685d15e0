"""bctrl's account, which both generations share: its key, its agents, the two shapes of an error."""

from __future__ import annotations

import hmac
import math
import secrets
from typing import Any, ClassVar, Final

from airflow_runctl.sandbox.bctrl.runs import BctrlBehaviour, BctrlRun, BctrlSettings
from airflow_runctl.sandbox.replays import Replays
from airflow_runctl.sandbox.vendor import Vendor
from airflow_runctl.sandbox.wire import Answer, Call, Refused, as_json

# [code] The official clients' classes of errors.
REASONS: Final = {
    400: "invalid_input",
    401: "unauthorized",
    402: "capability_limit_exceeded",
    403: "capability_denied",
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
    502: "upstream",
    503: "upstream",
}


class Account(Vendor[BctrlBehaviour, BctrlSettings, BctrlRun]):
    """One account, with one workspace and one space; what can be called of it is its parts' business."""

    name: ClassVar[str] = "bctrl"
    mount: ClassVar[tuple[str, ...]] = ("bctrl",)
    default = BctrlBehaviour()
    default_settings = BctrlSettings()

    def __init__(self, seed: str) -> None:
        self.replays = Replays()
        super().__init__(seed)
        self.api_key = f"bctrl-key-{seed}"

    def reset(self) -> None:
        super().reset()
        self.replays.clear()

    def catalogue(self) -> dict[str, BctrlBehaviour]:
        return {
            "researcher": BctrlBehaviour(run_seconds=2.0, result={"answer": "two lines"}),
            "hang-agent": BctrlBehaviour(),
            "fail-agent": BctrlBehaviour(run_seconds=1.0, end="failed", message="the page did not load"),
            "asking-agent": BctrlBehaviour(awaiting_input_after_seconds=0.5, message="Which account?"),
        }

    def check_credential(self, call: Call, operation: str) -> None:
        wanted = f"Bearer {self.api_key}"
        if not hmac.compare_digest(call.headers.get("Authorization", "").encode(), wanted.encode()):
            raise Refused(401, "Invalid API key")

    def refusal(self, call: Call, refused: Refused) -> Answer:
        """[code] Generation B nests its error, generation R is flat.

        What generation W answers is documented nowhere; it takes the flat shape here, as the generation
        nearest to it.
        """
        reason = REASONS.get(refused.status, "server")
        request_id = f"req-{secrets.token_hex(4)}"
        error: dict[str, Any] = {
            "code": refused.code or reason,
            "reasonClass": reason,
            "requestId": request_id,
            "hint": "Read the message.",
            "details": {},
        }
        flat = call.segments[:2] == ("v1", "workspaces")
        headers = {"x-request-id" if flat else "BCTRL-Request-Id": request_id}
        if refused.retry_after is not None:
            headers["Retry-After"] = str(math.ceil(refused.retry_after))
        if flat:
            return as_json({"error": refused.message, **error}, refused.status, headers)
        return as_json({"error": {"message": refused.message, **error}}, refused.status, headers)
