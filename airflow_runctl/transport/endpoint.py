"""Where requests go and how: base URL, time-outs, proxies, certificates; the same for both clients."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ssl import SSLContext, create_default_context
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_runctl import __version__
from airflow_runctl.exceptions import ConnectionSetupError, TransportError
from airflow_runctl.vendors.base import HttpRequest

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes. A larger answer is none that these APIs document; it is not read to its end."""

CONNECT_TIMEOUT: Final = 10.0

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

SETTINGS_HAVE_PROXIES: Final = ("darwin", "win32")
"""Where a proxy can also be set in the system's settings."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection's way to its vendor.

    :param base_url: scheme, host, port and path prefix, without a slash at the end.
    :param timeout: seconds to wait for an answer.
    :param verify: check the server's certificate; a text is the path of a CA file.
    :param proxies: proxy by scheme, instead of those in the environment.
    """

    base_url: str
    timeout: float = 30.0
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)

    def url(self, request: HttpRequest) -> str:
        """Return the full URL of ``request``, without its query."""
        return (request.base_url or self.base_url) + request.path

    def timeout_of(self, request: HttpRequest) -> float:
        """Return the seconds to wait for the answer to ``request``."""
        return self.timeout if request.timeout is None else request.timeout

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for ``url``: the connection's, else the environment's, else ``None``."""
        address = urlsplit(url)
        if self.proxies:
            return self.proxies.get(address.scheme)
        # Both look through the whole environment, for each request: 0.1 ms each, so only where there is a proxy.
        proxy = getproxies().get(address.scheme) if _may_have_proxies() else None
        return None if proxy is None or proxy_bypass(address.hostname or "") else proxy

    def ca_file(self) -> str | None:
        """Return the CA file, or ``None`` for the client's own certificates."""
        if isinstance(self.verify, str):
            return self.verify
        return next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)

    def tls(self) -> SSLContext | bool:
        """Return what aiohttp wants to know of certificates. The first call for a CA file reads it (20 ms)."""
        return _tls_context(self.ca_file()) if self.verify else False


def _may_have_proxies() -> bool:
    """Return False if no proxy is set, where it can be set in the environment only. It may change at any time."""
    return sys.platform in SETTINGS_HAVE_PROXIES or any(name.lower().endswith(b"_proxy") for name in os.environb)


@lru_cache(maxsize=8)
def _tls_context(ca_file: str | None) -> SSLContext:
    import certifi

    return create_default_context(cafile=ca_file or certifi.where())


HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "User-Agent": f"airflow-runctl/{__version__}",
}


def body_of(request: HttpRequest) -> tuple[bytes | None, dict[str, str]]:
    """Return the body and all headers of ``request``. Without a body there is no content type."""
    headers = {**HEADERS, **request.headers}
    if request.json is not None:
        return json.dumps(request.json).encode(), {**headers, "Content-Type": "application/json"}
    return request.data, headers


def transport_error(request: HttpRequest, url: str, error: BaseException, *, sent: bool) -> TransportError:
    """Return the error for a call without an answer; it names the path, and neither query nor headers."""
    what = "No answer came" if sent else "No connection could be made"
    hint = ""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = " Nobody vouches for the server's certificate: name its CA file in the connection's extra 'verify'."
    return TransportError(f"{what} to {request.method} {url} ({type(error).__name__}).{hint}", sent=sent)


def certificates_error(endpoint: Endpoint) -> ConnectionSetupError:
    """Return the error for a CA file that is not on this machine."""
    return ConnectionSetupError(
        f"The CA file that extra 'verify' of the connection, or the environment, names cannot be read here: "
        f"{endpoint.ca_file()}"
    )
