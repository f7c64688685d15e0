"""An Airflow connection, however it is written, comes to the same requests; what it lacks is said by name."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from airflow_runctl.exceptions import ConnectionSetupError, HandleError, NotFound, VendorError
from airflow_runctl.hooks.axiom import AxiomHook
from airflow_runctl.hooks.base import RunHook, base_url_of, hook_class
from airflow_runctl.hooks.snaplogic import SnapLogicHook
from airflow_runctl.sandbox.client import Sandbox
from airflow_runctl.transport.endpoint import Endpoint
from airflow_runctl.transport.retry import Patience
from tests.fakes.airflow_3 import FakeAirflow
from tests.unit.clients import Client
from tests.unit.connections import Connections

BRIEF = Patience(total=0.2)


# -- host ------------------------------------------------------------------------------------------------

LAR = "https://lar.axiom.ai/api/v3"


@pytest.mark.parametrize(
    ("host", "schema", "port", "url"),
    [
        (None, None, None, LAR),
        ("", "", None, LAR),
        ("lar.axiom.ai", None, None, LAR),
        ("LAR.axiom.ai", None, None, LAR),
        ("https://lar.axiom.ai", None, None, LAR),
        ("https://lar.axiom.ai/", None, None, LAR),
        ("lar.axiom.ai/api/v3", None, None, LAR),
        ("lar.axiom.ai/api/v3/", None, None, LAR),
        ("lar.axiom.ai", "api/v3", None, LAR),
        ("lar.axiom.ai", "/api/v3/", None, LAR),
        ("lar.axiom.ai", "https", None, LAR),
        ("lar.axiom.ai/api/v4", None, None, "https://lar.axiom.ai/api/v4"),
        ("gateway.example", None, None, "https://gateway.example"),
        ("gateway.example", "http", None, "http://gateway.example"),
        ("gateway.example", "HTTP", None, "http://gateway.example"),
        ("HTTP://gateway.example", None, None, "http://gateway.example"),
        ("https://gateway.example", "http", None, "https://gateway.example"),
        ("http://gateway.example", "https", None, "http://gateway.example"),
        ("gateway.example", None, 8443, "https://gateway.example:8443"),
        ("gateway.example:8443", None, None, "https://gateway.example:8443"),
        ("gateway.example:8443", None, 1, "https://gateway.example:8443"),
        ("http://gateway.example/one/two/", None, 8080, "http://gateway.example:8080/one/two"),
        ("gateway.example/one", "two/three", 8080, "https://gateway.example:8080/one/two/three"),
        ("http://gateway.example:8080", "one", None, "http://gateway.example:8080/one"),
        ("[::1]:8080", "http", None, "http://[::1]:8080"),
        ("http://[::1]/x", None, 99, "http://[::1]:99/x"),
        ("  gateway.example  ", None, None, "https://gateway.example"),
    ],
)
def test_host_schema_and_port_stand_for_a_base_url(
    host: str | None, schema: str | None, port: int | None, url: str
) -> None:
    assert base_url_of("c", host, schema, port, AxiomHook.default_host) == url


@pytest.mark.parametrize(
    "host",
    [
        "ftp://gateway.example",
        "://gateway.example",
        "http://",
        "gate way.example",
        "gateway.example?x=1",
        "gateway.example#x",
        "someone:host-secret@gateway.example",
        "https://someone:host-secret@gateway.example",
        "gateway.example:port",
        "gateway.example:99999",
        "http://[::1",
        "/only/a/path",
    ],
)
def test_host_that_makes_no_sense_is_refused_without_repeating_it(host: str) -> None:
    with pytest.raises(ConnectionSetupError, match="The host of connection 'c' must be a name or a http") as seen:
        base_url_of("c", host, None, None, AxiomHook.default_host)
    assert "host-secret" not in str(seen.value)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Sandbox]:
    """A sandbox behind a path prefix, as behind an API gateway."""
    with Sandbox.spawn(prefix="gateway/one") as spawned:
        yield spawned


def as_uri(row: dict[str, Any], netloc: str, path: str) -> str:
    """Write a connection as a URI, which puts the path into its schema."""
    login = quote(row.get("login", ""), safe="")
    extra = f"?__extra__={quote(json.dumps(row['extra']), safe='')}" if row.get("extra") else ""
    return f"{row['conn_type']}://{login}:{quote(row['password'], safe='')}@{netloc}/{path}{extra}"


def written(row: dict[str, Any], url: str) -> dict[str, str]:
    """Return the same connection as people write it: environment variables, JSON and URI."""
    address = urlsplit(url)
    path = address.path.strip("/")
    host_with_scheme = f"{address.scheme}://{address.hostname}"
    return {
        "all in the host": json.dumps({**row, "host": url}),
        "slash at the end": json.dumps({**row, "host": url + "/"}),
        "scheme in the schema": json.dumps({**row, "host": f"{address.netloc}/{path}", "schema": address.scheme}),
        "port apart": json.dumps({**row, "host": f"{host_with_scheme}/{path}", "port": address.port}),
        "path in the schema": json.dumps({**row, "host": host_with_scheme, "schema": path, "port": address.port}),
        "extra as text": json.dumps({**row, "host": url, "extra": json.dumps(row.get("extra", {}))}),
        "URI with the path as schema": as_uri(
            row, f"{quote(host_with_scheme, safe='')}:{address.port}", quote(path, "")
        ),
        "URI with the URL as host": as_uri(row, quote(url, safe=""), ""),
        "URI with a protocol in the middle": as_uri(row, f"{address.netloc}", quote(path, "")).replace(
            "://", f"://{address.scheme}://", 1
        ),
    }


SPELLINGS = list(written({"conn_type": "x", "password": ""}, "http://h:1/p"))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("conn_id", ["snaplogic_default", "axiom_default"])
def test_every_spelling_of_a_connection_gives_the_same_requests(
    client: Client, gateway: Sandbox, fake: FakeAirflow, monkeypatch: pytest.MonkeyPatch, conn_id: str, spelling: str
) -> None:
    row = Connections(gateway).rows[conn_id]
    text = written(row, row["host"])[spelling]
    if "URI" in spelling and "middle" in spelling and "://" not in text.partition("://")[2]:
        pytest.fail("the URI has no protocol in the middle")
    fake.connections = {}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", text)
    gateway.clear_requests()
    access = hook_class(row["conn_type"])(conn_id).access
    client.drive(access, access.vendor.test())
    (request,) = gateway.requests()
    seen = {name: request[name] for name in ("method", "path", "query", "body")}
    host = urlsplit(gateway.url).netloc
    assert (request["status"], request["headers"]["Host"]) == (200, host)
    if conn_id == "axiom_default":
        body = json.dumps({"key": f"axiom-key-{gateway.seed}"})
        path = "/gateway/one/axiom/api/v3/remaining-runtime"
        assert seen == {"method": "POST", "path": path, "query": "", "body": body}
    else:
        path = "/gateway/one/snaplogic/api/1/rest/public/runtime/Acme"
        assert seen == {"method": "GET", "path": path, "query": "limit=1", "body": ""}


# -- what is missing or wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conn_id", "extra", "changes", "said"),
    [
        ("snaplogic_default", {}, {"password": None}, "Connection 'snaplogic_default' has no password."),
        ("snaplogic_default", {}, {"password": "  "}, "has no password"),
        ("snaplogic_default", {}, {"login": None}, "has no login (the account's e-mail)"),
        ("snaplogic_default", {"org": None}, {}, "has no 'org' in its extra (the SnapLogic org or environment)"),
        ("snaplogic_default", {"org": " "}, {}, "has no 'org' in its extra"),
        (
            "snaplogic_default",
            {"auth": "oauth"},
            {},
            "'auth' of connection 'snaplogic_default' is 'oauth'; it can be basic or jwt",
        ),
        ("snaplogic_jwt", {}, {"password": None}, "has no JWT in its password"),
        ("snaplogic_jwt", {"seal_key": None}, {}, "uses auth=jwt and has no 'seal_key' in its extra"),
        ("snaplogic_jwt", {"seal_key": " , "}, {}, "set it to a long random text"),
        ("snaplogic_jwt", {}, {"password": "ey\nJ"}, "A token of the connection holds characters that no HTTP header"),
        ("snaplogic_default", {"task_token": "tökén"}, {}, "no HTTP header can carry: was it pasted as it was given?"),
        ("axiom_default", {}, {"password": None}, "Connection 'axiom_default' has no API key in its password."),
        (
            "axiom_default",
            {"timeout": "soon"},
            {},
            "'timeout' of connection 'axiom_default' must be a number of seconds",
        ),
        ("axiom_default", {"timeout": 0}, {}, "above 0"),
        ("axiom_default", {"timeout": -3}, {}, "above 0"),
        ("axiom_default", {"timeout": "nan"}, {}, "above 0"),
        ("axiom_default", {"timeout": "inf"}, {}, "3600 at most"),
        ("axiom_default", {"timeout": 1e10}, {}, "3600 at most"),
        ("axiom_default", {"proxies": {"http": 5}}, {}, "'proxies' of connection 'axiom_default' must be a URL, or an"),
        ("axiom_default", {"proxies": {"http": "proxy"}}, {}, "must be a URL, or an object of scheme to URL"),
        ("axiom_default", {}, {"host": "a..b"}, "The host of connection 'axiom_default' must be a name"),
        ("axiom_default", {}, {"host": "https://" + "x" * 64 + ".example"}, "must be a name or a http(s) URL"),
        ("bctrl_default", {}, {"host": "https://api.bctrl.ai/v1"}, "'bctrl_default' must not end in /v1"),
        ("bctrl_browsers", {}, {"host": "api.bctrl.ai/v1/"}, "Take it out of the host."),
        ("axiom_default", {"proxies": 7}, {}, "'proxies' of connection 'axiom_default' must be a URL, or an object"),
    ],
)
def test_what_a_connection_lacks_is_said_by_name(
    connections: Connections, conn_id: str, extra: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConnectionSetupError) as seen:
        connections.access(conn_id, extra, **changes)
    assert said in str(seen.value)


def test_unknown_connection_is_named(fake: FakeAirflow) -> None:
    with pytest.raises(Exception, match="nowhere"):
        _ = SnapLogicHook("nowhere").access


@pytest.mark.parametrize(("hook", "conn_id"), [(SnapLogicHook, "axiom_default"), (AxiomHook, "snaplogic_default")])
def test_connection_of_another_type_is_refused(fake: FakeAirflow, hook: type[RunHook], conn_id: str) -> None:
    with pytest.raises(ConnectionSetupError, match=rf"{conn_id}' is of type '\w+'; '{hook.conn_type}' is needed"):
        _ = hook(conn_id).access


def test_hook_without_an_id_takes_the_default_of_its_type(fake: FakeAirflow) -> None:
    assert SnapLogicHook().get_conn().conn_id == "snaplogic_default"
    assert AxiomHook(axiom_conn_id="axiom_default").get_conn().vendor.name == "axiom"


def test_hook_drives_with_both_clients(fake: FakeAirflow, box: Sandbox) -> None:
    import asyncio

    from airflow_runctl.transport.aio import close_session

    hook = AxiomHook()
    assert "minutes of runtime left" in hook.run(hook.access.vendor.test())

    async def go() -> str:
        try:
            return await hook.arun(hook.access.vendor.test())
        finally:
            await close_session()

    assert "minutes of runtime left" in asyncio.run(go())


def test_credentials_are_masked_before_anything_is_done(fake: FakeAirflow, box: Sandbox) -> None:
    _ = SnapLogicHook("snaplogic_jwt").access
    masked = json.dumps([message.value for message in fake.sent("MaskSecret")])
    for secret in (f"snaplogic-jwt-{box.seed}", f"snaplogic-seal-key-{box.seed}", f"snaplogic-task-token-{box.seed}"):
        assert secret in masked


@pytest.mark.parametrize(
    ("word", "verify"), [("false", False), ("0", False), (False, False), ("No", False), ("true", True)]
)
def test_verify_takes_words_and_booleans(connections: Connections, word: Any, verify: bool) -> None:
    assert connections.access("axiom_default", {"verify": word}).endpoint.verify is verify


def test_extra_fields_become_the_way_to_the_vendor(connections: Connections) -> None:
    extra = {"timeout": "2.5", "verify": "/ca.pem", "proxies": {"http": "http://p:1"}}
    access = connections.access("axiom_default", extra, host="https://h")
    assert access.endpoint == Endpoint("https://h", 2.5, "/ca.pem", {"http": "http://p:1"})


def test_unknown_vendor_is_named() -> None:
    with pytest.raises(HandleError, match="No installed package knows the vendor 'acme'"):
        hook_class("acme")


def test_vendor_under_a_wrong_path_is_an_error_not_a_success(
    client: Client, connections: Connections, box: Sandbox
) -> None:
    access = connections.access("snaplogic_default", host=f"{box.url}/snaplogic/wrong")
    with pytest.raises(NotFound):
        client.drive(access, access.vendor.test(), BRIEF)
    access = connections.access("axiom_default", host=f"{box.url}/elsewhere")
    with pytest.raises(VendorError):
        client.drive(access, access.vendor.test(), BRIEF)


def test_prefix_of_a_gateway_is_kept_for_triggers_too(client: Client, gateway: Sandbox) -> None:
    from airflow_runctl.vendors.snaplogic.trigger import TriggeredTask
    from airflow_runctl.vendors.snaplogic.vendor import SnapLogic

    access = Connections(gateway).access("snaplogic_default")
    assert isinstance(access.vendor, SnapLogic)
    plan = access.vendor.trigger(TriggeredTask("projects/sales/early-hang"))
    client.drive(access, plan.start(client.drive(access, plan.prepare())))
    path = "/gateway/one/snaplogic/api/1/rest/slsched/feed/Acme/projects/sales/early-hang"
    assert gateway.requests(operation="start")[-1]["path"] == path
    gateway.reset()
