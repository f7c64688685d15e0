"""The test of a connection says what was reached and as whom, or what is wrong and how to mend it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from airflow.models import Connection

from airflow_runctl.hooks import trial as module
from airflow_runctl.hooks.axiom import AxiomHook
from airflow_runctl.hooks.bctrl import BctrlHook
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.hooks.vectorshift import VectorShiftHook
from airflow_runctl.sandbox.client import Sandbox
from tests.servers.odd_server import OddServer, say

Trial = Callable[..., tuple[bool, str]]

pytestmark = pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")

DEFAULTS = ["snaplogic_default", "snaplogic_jwt", "axiom_default", "vectorshift_default", "bctrl_default"]
every_connection = pytest.mark.parametrize("conn_id", [*DEFAULTS, "bctrl_browsers"])


@pytest.fixture
def trial(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Test a connection of the sandbox with changes as the API server does when the button is pressed.

    It makes up an id, and puts the connection into the environment as a URI for the hook to find.
    """
    monkeypatch.setattr(module, "PATIENCE", replace(module.PATIENCE, total=0.1))

    def press(conn_id: str, extra: dict[str, Any] | None = None, **changes: Any) -> tuple[bool, str]:
        row = {**json.loads(box.connections[f"AIRFLOW_CONN_{conn_id.upper()}"]), **changes}
        row["extra"] = {**row.get("extra", {}), **(extra or {})}
        made_up = Connection(conn_id="madeup", **row)
        monkeypatch.setenv("AIRFLOW_CONN_MADEUP", made_up.get_uri())
        done, message = made_up.test_connection()
        assert box.seed not in message, "a secret is told"
        assert "madeup" not in message, "an id is told that nobody knows"
        return done, message

    return press


@pytest.mark.parametrize(
    ("conn_id", "seen"),
    [
        ("snaplogic_default", "Reached SnapLogic org 'Acme' as ops@acme.example. "),
        ("snaplogic_jwt", "Reached SnapLogic org 'Acme' as the bearer of the token. "),
        ("axiom_default", "Reached axiom.ai with this API key; 900.0 minutes of runtime left. "),
        ("vectorshift_default", "Reached VectorShift with this API key"),
        ("bctrl_default", "Reached bctrl"),
        ("bctrl_browsers", "Reached bctrl"),
    ],
)
def test_success_says_what_was_reached_and_as_whom(trial: Trial, sandbox: Sandbox, conn_id: str, seen: str) -> None:
    done, message = trial(conn_id)
    assert done, message
    assert message.startswith(seen)
    assert f"Address: {sandbox.url}/{conn_id.partition('_')[0]}" in message


@every_connection
def test_a_wrong_credential_is_told(trial: Trial, conn_id: str) -> None:
    done, message = trial(conn_id, password="wrong-credential")
    assert not done
    assert "HTTP 401" in message
    assert "Check the" in message
    assert "Address: http://" in message
    assert "wrong-credential" not in message


@every_connection
def test_a_missing_credential_is_told(trial: Trial, conn_id: str) -> None:
    done, message = trial(conn_id, password="")
    assert not done
    assert message.startswith("The connection has no ")


@every_connection
@pytest.mark.parametrize(
    ("host", "mend"),
    [
        ("http://127.0.0.1:1", "Nobody can be reached there: check host and port."),
        ("http://no-such-host.invalid", "The host name is not known here: check its spelling."),
    ],
)
def test_an_unreachable_host_is_told(trial: Trial, conn_id: str, host: str, mend: str) -> None:
    done, message = trial(conn_id, host=host)
    assert not done
    assert host in message
    assert message.endswith(mend)


@every_connection
def test_a_host_without_tls_is_told(trial: Trial, sandbox: Sandbox, conn_id: str) -> None:
    done, message = trial(conn_id, host=sandbox.url.replace("http://", "https://"))
    assert not done
    assert message.endswith(
        "Check the scheme in the host, and 'verify' in the extra if a CA of your own signed the certificate."
    )


@every_connection
def test_a_proxy_that_is_not_there_is_told(trial: Trial, conn_id: str) -> None:
    done, message = trial(conn_id, extra={"proxies": "http://127.0.0.1:1"})
    assert not done
    assert "check 'proxies' in the extra" in message


@every_connection
def test_a_ca_file_that_is_not_there_is_told(trial: Trial, sandbox: Sandbox, conn_id: str) -> None:
    host = sandbox.url.replace("http://", "https://")
    done, message = trial(conn_id, host=host, extra={"verify": "/no/such/ca.pem"})
    assert not done
    assert message.endswith("/no/such/ca.pem: check 'verify' in the extra.")


@every_connection
def test_an_address_that_is_not_the_vendors_is_told(trial: Trial, sandbox: Sandbox, conn_id: str) -> None:
    done, message = trial(conn_id, host=f"{sandbox.url}/elsewhere")
    assert not done
    assert "HTTP 404" in message
    assert f"Address: {sandbox.url}/elsewhere (if that is not the vendor's, mend the host; an empty one" in message


PORTALS = [b"", b"[]", b'"x"', b"{}", b"7", b"null", b"<html><body>Please log in to the guest network</body></html>"]


@every_connection
@pytest.mark.parametrize("body", PORTALS, ids=repr)
def test_an_answer_that_is_not_the_vendors_is_no_success(trial: Trial, conn_id: str, body: bytes) -> None:
    """A captive portal, or a proxy's own page, answers everything with 200."""
    with OddServer(say(body)) as portal:
        done, message = trial(conn_id, host=portal.url)
    assert not done, message
    assert f"Address: {portal.url}" in message


@every_connection
def test_a_silent_host_is_told(trial: Trial, sandbox: Sandbox, conn_id: str) -> None:
    vendor = conn_id.partition("_")[0]
    sandbox.fault(vendor, "any", "hang", seconds=30)
    try:
        done, message = trial(conn_id, extra={"timeout": 0.2})
    finally:
        sandbox.clear_faults()
    assert not done
    assert message.endswith("Somebody listens there and says nothing: check the host.")


def test_a_connection_of_another_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MADEUP", "http://:a-long-credential@127.0.0.1")
    for hook in (SnapLogicHook, AxiomHook, VectorShiftHook, BctrlHook):
        assert hook("madeup").test_connection() == (
            False,
            f"The connection is of type 'http'; {hook.conn_type!r} is needed.",
        )


def test_a_wrong_org_is_told(trial: Trial) -> None:
    done, message = trial("snaplogic_default", extra={"org": "Other"})
    assert not done
    assert "no environment Other" in message
    assert "No such run or org" in message


def test_a_missing_org_is_told(trial: Trial) -> None:
    assert trial("snaplogic_default", extra={"org": ""}) == (
        False,
        "The connection has no 'org' in its extra (the SnapLogic org or environment).",
    )


def test_basic_switched_off_is_told(trial: Trial, sandbox: Sandbox) -> None:
    sandbox.settings("snaplogic", basic_enabled=False)
    try:
        done, message = trial("snaplogic_default")
    finally:
        sandbox.settings("snaplogic", basic_enabled=True)
    assert not done
    assert "Basic authentication may be switched off for the org" in message
    assert "use auth=jwt" in message


def test_a_jwt_without_a_seal_key_is_told(trial: Trial) -> None:
    done, message = trial("snaplogic_jwt", extra={"seal_key": ""})
    assert not done
    assert message.startswith("The connection uses auth=jwt and has no 'seal_key' in its extra.")
