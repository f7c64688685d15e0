"""Where requests go and how: base URL, time-outs, proxies, certificates; the same for both clients."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ssl import SSLContext, create_default_context
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_runctl import __version__
from airflow_runctl.exceptions import ConnectionSetupError, TransportError
from airflow_runctl.transport.budget import Allowance
from airflow_runctl.vendors.base import HttpRequest

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes. A larger answer is none that these APIs document; it is not read to its end."""

CONNECT_TIMEOUT: Final = 10.0

PROXY_VARIABLES: Final = {
    # REQUEST_METHOD: of a CGI program, in which HTTP_PROXY is not to be believed.
    "http": ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"),
    "https": ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
}
"""What in the environment tells that it names another proxy than before, by the scheme of the address."""

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection's way to its vendor.

    :param base_url: scheme, host, port and path prefix, without a slash at the end.
    :param timeout: seconds to wait for an answer.
    :param verify: check the server's certificate; a text is the path of a CA file.
    :param proxies: proxy by scheme, instead of those in the environment.
    :param allowance: how many calls the vendor takes; ``None`` for no limit.
    """

    base_url: str
    timeout: float = 30.0
    verify: bool | str = True
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowance: Allowance | None = None

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
        variables = PROXY_VARIABLES.get(address.scheme, ())
        return _proxy_of(address.scheme, address.hostname or "", tuple(map(os.environ.get, variables)))

    def ca_file(self) -> str | None:
        """Return the CA file, or ``None`` for the client's own certificates."""
        if isinstance(self.verify, str):
            return self.verify
        return next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)

    def tls(self) -> SSLContext | bool:
        """Return what aiohttp wants to know of certificates. The first call for a CA file reads it (20 ms)."""
        if not self.verify:
            return False
        name = self.ca_file()
        if name not in _contexts:
            _contexts[name] = _tls_context(name)
        return _contexts[name]

    def tls_if_ready(self) -> SSLContext | bool | None:
        """Return the same without reading anything; ``None`` if it has not been read yet."""
        return _contexts.get(self.ca_file()) if self.verify else False


@lru_cache(maxsize=256)
def _proxy_of(scheme: str, host: str, variables: tuple[str | None, ...]) -> str | None:
    """Return the environment's proxy. Both calls look through all of it, which takes as long as to send a request.

    :param variables: what the environment says now, so that a change is noticed.
    """
    proxy = getproxies().get(scheme)
    return None if proxy is None or proxy_bypass(host) else proxy


_contexts: dict[str | None, SSLContext] = {}
"""What was made of each CA file; a process has a handful of them."""


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
