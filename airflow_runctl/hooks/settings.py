"""What a connection says, and what it gives access to: a vendor, the way there, the keys of its seal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from airflow_runctl.exceptions import ConnectionSetupError, RunctlError
from airflow_runctl.metrics import count_error, hand_on
from airflow_runctl.transport.budget import Allowance
from airflow_runctl.transport.endpoint import Endpoint
from airflow_runctl.transport.retry import Patience
from airflow_runctl.vendors.base import Flow, Vendor

T = TypeVar("T")

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

LONGEST_TIMEOUT: Final = 3600.0
"""Seconds. Whoever waits longer for one answer is not watching any more."""

MOST_CALLS: Final = 1_000_000

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
        """Return an extra field as stripped text.

        :raises ConnectionSetupError: if it is a list or an object.
        """
        value = self.extra.get(name)
        if isinstance(value, Mapping | list):
            kind = "a list" if isinstance(value, list) else "an object"
            raise ConnectionSetupError(f"Extra {name!r} of connection {self.conn_id!r} must be a text, not {kind}.")
        return default if value is None or value == "" else str(value).strip()

    def require(self, value: str, what: str) -> str:
        """Return ``value``, or say what the connection lacks."""
        if not value:
            raise ConnectionSetupError(f"Connection {self.conn_id!r} has no {what}.")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an extra field of several comma-separated texts."""
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def endpoint(self, rate_limit: int | None = None) -> Endpoint:
        """Return where requests go and how.

        :param rate_limit: calls a minute that the vendor takes, unless the connection says otherwise.
        :raises ConnectionSetupError: if ``timeout``, ``verify``, ``proxies`` or a rate limit make no sense.
        """
        timeout = self.seconds("timeout", 30.0)
        return Endpoint(self.base_url, timeout, self._verify(), self._proxies(), self._allowance(rate_limit))

    def _allowance(self, rate_limit: int | None) -> Allowance | None:
        calls = self._count("rate_limit", rate_limit or 0, least=0)
        processes = self._count("rate_limit_processes", 1, least=1)
        return Allowance(self.conn_id, calls, processes) if calls else None

    def _count(self, name: str, default: int, *, least: int) -> int:
        """Return an extra field that is a whole number."""
        try:
            count = int(self.text(name, str(default)))
        except ValueError:
            count = -1
        if not least <= count <= MOST_CALLS:
            raise ConnectionSetupError(
                f"Extra {name!r} of connection {self.conn_id!r} must be a whole number from {least} to {MOST_CALLS:,}."
            )
        return count

    def seconds(self, name: str, default: float) -> float:
        """Return an extra field of seconds.

        :raises ConnectionSetupError: if it is none, not above 0, or longer than an hour.
        """
        try:
            seconds = float(self.text(name, str(default)))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= LONGEST_TIMEOUT:
            raise ConnectionSetupError(
                f"Extra {name!r} of connection {self.conn_id!r} must be a number of seconds above 0, "
                f"{LONGEST_TIMEOUT:.0f} at most."
            )
        return seconds

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
        if not isinstance(proxies, Mapping) or not all(map(_is_proxy, proxies.values())):
            raise ConnectionSetupError(
                f"Extra 'proxies' of connection {self.conn_id!r} must be a URL, or an object of scheme to URL."
            )
        return {scheme: proxy for scheme, proxy in proxies.items() if proxy}


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

        try:
            with SyncTransport(self.endpoint, **transport) as session, self._counting():
                return session.drive(flow, patience)
        finally:
            hand_on()

    async def adrive(self, flow: Flow[T], patience: Patience | None = None, **transport: Any) -> T:
        """Run a flow with aiohttp, on the event loop's shared session."""
        from airflow_runctl.transport.aio import AsyncTransport

        with self._counting():
            return await AsyncTransport(self.endpoint, **transport).drive(flow, patience)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the error that a flow ends with."""
        try:
            yield
        except RunctlError as error:
            count_error(self.vendor.name, error)
            raise


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
    if not name or not _can_be_resolved(name) or wrong or scheme.lower() not in {"http", "https"}:
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


def _can_be_resolved(name: str) -> bool:
    """Return False for what no host can be called: ``a..b``, a label of 64 characters."""
    try:
        return ":" in name or bool(name.encode("idna"))
    except UnicodeError:
        return False


def _is_proxy(proxy: object) -> bool:
    """Return True for a URL, or for none."""
    try:
        return proxy is None or (isinstance(proxy, str) and "://" in proxy and bool(urlsplit(proxy).hostname))
    except ValueError:
        return False


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
