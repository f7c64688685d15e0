"""What the hooks of all vendors share: reading a connection, and driving flows with what it says."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

from airflow_runctl.compat import BaseHook, TriggererChannel, mask_secret
from airflow_runctl.exceptions import ConnectionSetupError, HandleError
from airflow_runctl.hooks.forms import ConnectionForm
from airflow_runctl.hooks.trial import trial
from airflow_runctl.transport.endpoint import Endpoint
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Vendor

if TYPE_CHECKING:
    from airflow.sdk import Connection

T = TypeVar("T")

ENTRY_POINTS: Final = "airflow_runctl.vendors"
"""Group of entry points: vendor name to hook class. A fifth vendor announces itself here."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

FALSE_WORDS: Final = frozenset({"false", "0", "no", "off"})
TRUE_WORDS: Final = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a connection says, read once and in one place.

    :param conn_id: id of the connection.
    :param base_url: scheme, host, port and path prefix.
    :param login: login, or an empty text.
    :param password: password, API key or token, or an empty text.
    :param extra: the other fields.
    """

    conn_id: str
    base_url: str
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def text(self, name: str, default: str = "") -> str:
        """Return an extra field as stripped text."""
        value = self.extra.get(name)
        return default if value is None or value == "" else str(value).strip()

    def require(self, value: str, what: str) -> str:
        """Return ``value``, or say what the connection lacks."""
        if not value:
            raise ConnectionSetupError(f"Connection {self.conn_id!r} has no {what}.")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an extra field of several comma-separated texts."""
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def endpoint(self) -> Endpoint:
        """Return where requests go and how.

        :raises ConnectionSetupError: if ``timeout``, ``verify`` or ``proxies`` make no sense.
        """
        return Endpoint(self.base_url, self._timeout(), self._verify(), self._proxies())

    def _timeout(self) -> float:
        try:
            timeout = float(self.text("timeout", "30"))
        except ValueError:
            timeout = 0.0
        if not timeout > 0:
            raise ConnectionSetupError(
                f"Extra 'timeout' of connection {self.conn_id!r} must be a number of seconds above 0."
            )
        return timeout

    def _verify(self) -> bool | str:
        word = self.text("verify", "true")
        if word.lower() in TRUE_WORDS | FALSE_WORDS:
            return word.lower() in TRUE_WORDS
        return word

    def _proxies(self) -> Mapping[str, str]:
        proxies = self.extra.get("proxies") or {}
        if isinstance(proxies, str) and proxies.strip().startswith("{"):
            # A connection URI leaves an object as text in some of Airflow's processes.
            proxies = _json_or_none(proxies)
        if isinstance(proxies, str):
            proxies = {"http": proxies, "https": proxies}
        if not isinstance(proxies, Mapping):
            raise ConnectionSetupError(
                f"Extra 'proxies' of connection {self.conn_id!r} must be a URL, or an object of scheme to URL."
            )
        return dict(proxies)


@dataclass(frozen=True, slots=True)
class Access:
    """A connection, ready to use: the vendor with its credential, the way there, the keys of its seal.

    :param conn_id: id of the connection.
    :param vendor: the vendor, which holds the credential.
    :param endpoint: where requests go.
    :param seal_keys: texts that handles are sealed and opened with, the newest first.
    """

    conn_id: str
    vendor: Vendor
    endpoint: Endpoint
    seal_keys: tuple[str, ...] = field(repr=False)

    def drive(self, flow: Flow[T], patience: Patience | None = None, **transport: Any) -> T:
        """Run a flow with requests, on a fresh session."""
        from airflow_runctl.transport.sync import SyncTransport

        with SyncTransport(self.endpoint, **transport) as session:
            return session.drive(flow, patience)

    async def adrive(self, flow: Flow[T], patience: Patience | None = None, **transport: Any) -> T:
        """Run a flow with aiohttp, on the event loop's shared session."""
        from airflow_runctl.transport.aio import AsyncTransport

        return await AsyncTransport(self.endpoint, **transport).drive(flow, patience)


def base_url_of(conn_id: str, host: str | None, schema: str | None, port: int | None, default: str) -> str:
    """Return the base URL that a connection's host, schema and port stand for.

    The host is a bare name or a full URL, with port and path prefix. A scheme in it wins; a ``schema`` of
    http or https is the scheme; any other ``schema`` is a path prefix, which is where a connection URI
    puts it. Without any the scheme is https.

    :param default: host to use if the connection names none.
    :raises ConnectionSetupError: if the host makes no sense.
    """
    text = (host or "").strip() or default
    prefix = (schema or "").strip().strip("/")
    scheme = "https"
    if prefix.lower() in {"http", "https"}:
        scheme, prefix = prefix.lower(), ""
    if "://" in text:
        scheme, _, text = text.partition("://")
    try:
        address = urlsplit(f"//{text}")
        name, given_port = address.hostname, address.port or port
    except ValueError:
        address, name, given_port = urlsplit(""), None, None
    wrong = address.query or address.fragment or address.username or re.search(r"\s", text)
    if not name or wrong or scheme.lower() not in {"http", "https"}:
        raise ConnectionSetupError(
            f"The host of connection {conn_id!r} must be a name or a http(s) URL, with port and path if need be; "
            "no login, query or spaces belong there."
        )
    where = address.path.strip("/")
    if not where and not prefix and name == urlsplit(f"//{default}").hostname:
        where = urlsplit(f"//{default}").path.strip("/")
    given_port = None if given_port == DEFAULT_PORTS[scheme.lower()] else given_port
    netloc = (f"[{name}]" if ":" in name else name) + (f":{given_port}" if given_port else "")
    return "/".join(part for part in (f"{scheme.lower()}://{netloc}", where, prefix) if part)


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class RunHook(ConnectionForm, BaseHook):
    """Reaches one vendor through an Airflow connection.

    Every operation is a flow of the vendor; :meth:`run` drives it with requests, :meth:`arun` with aiohttp.

    :param conn_id: id of the connection; the vendor's default id if left out.
    """

    conn_name_attr: ClassVar[str]
    default_conn_name: ClassVar[str]
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]
    default_host: ClassVar[str]

    def __init__(self, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__()
        # The connection form's test names the id by the hook's own attribute.
        self.conn_id: str = conn_id or kwargs.get(self.conn_name_attr) or self.default_conn_name

    @classmethod
    @abstractmethod
    def build(cls, settings: Settings) -> Vendor:
        """Return the vendor that a connection stands for.

        :raises ConnectionSetupError: if the connection lacks something.
        """

    @classmethod
    def seal_keys(cls, settings: Settings) -> tuple[str, ...]:
        """Return what handles are sealed with: the extra ``seal_key`` if set, and the credential."""
        return (*settings.texts("seal_key"), settings.password)

    @classmethod
    def access_of(cls, conn: Connection, extra: Mapping[str, Any]) -> Access:
        """Return what ``conn`` gives access to.

        :raises ConnectionSetupError: if it is of another type, or lacks something.
        """
        if conn.conn_type != cls.conn_type:
            raise ConnectionSetupError(
                f"Connection {conn.conn_id!r} is of type {conn.conn_type!r}; {cls.conn_type!r} is needed."
            )
        base_url = base_url_of(conn.conn_id, conn.host, conn.schema, conn.port, cls.default_host)
        login = (conn.login or "").strip()
        settings = Settings(conn.conn_id, base_url, login, (conn.password or "").strip(), dict(extra))
        vendor = cls.build(settings)
        return Access(conn.conn_id, vendor, settings.endpoint(), tuple(k for k in cls.seal_keys(settings) if k))

    def get_conn(self) -> Access:
        """Return what the connection gives access to; it is read once."""
        return self.access

    @cached_property
    def access(self) -> Access:
        """What the connection gives access to."""
        conn = self.get_connection(self.conn_id)
        access = self.access_of(conn, conn.extra_dejson)
        for key in access.seal_keys:
            mask_secret(key)
        return access

    async def aaccess(self) -> Access:
        """Return what the connection gives access to, without blocking an event loop."""
        conn, extra = await TriggererChannel().connection(self.conn_id)
        return self.access_of(conn, extra)

    def run(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Drive ``flow`` with requests.

        :param flow: an operation of the vendor.
        :param patience: how long to go on; by default 60 s for a request and its repetitions.
        """
        return self.access.drive(flow, patience)

    async def arun(self, flow: Flow[T], patience: Patience | None = None) -> T:
        """Drive ``flow`` with aiohttp, in the triggerer for example."""
        return await (await self.aaccess()).adrive(flow, patience)

    def test_connection(self) -> tuple[bool, str]:
        """Reach the vendor with the connection's credential; return whether that worked, and what was seen."""
        return trial(self)


@cache
def hook_class(vendor: str) -> type[RunHook]:
    """Return the hook class of a vendor, found by its entry point.

    :raises HandleError: if no installed package knows the vendor.
    """
    for entry in entry_points(group=ENTRY_POINTS, name=vendor):
        hook: type[RunHook] = entry.load()
        return hook
    raise HandleError(f"No installed package knows the vendor {vendor!r} (entry point group {ENTRY_POINTS}).")


__all__ = ["Access", "RunHook", "Settings", "base_url_of", "hook_class"]
