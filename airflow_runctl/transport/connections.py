"""The connections of the requests client: they note the first byte that they send, and end with the request's time.

A time-out of requests counts from byte to byte: a server which says one byte a second is waited for without an end.
Here each wait, for a byte of the answer, of a proxy's or of a handshake, is given what is left of the whole. Where
a name has several addresses each is given its share of that, so that one which is dead takes no other's time.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from airflow_runctl.transport.addresses import Address, addresses_of
from airflow_runctl.transport.proof import Proof


class _Reader(io.RawIOBase):
    """What a socket receives, each wait no longer than the time that is left."""

    def __init__(self, sock: Any, proof: Proof) -> None:
        self._sock = sock
        # The socket's own file: as long as that is open, so is the connection.
        self._file = sock.makefile("rb", buffering=0)
        self._proof = proof

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._proof.left())
        count: int | None = self._file.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _TimedSocket:
    """A connected socket, whose waits end with the request's time."""

    def __init__(self, sock: Any, proof: Proof) -> None:
        self._sock = sock
        self._proof = proof

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """Return the file that ``http.client`` reads an answer from."""
        return io.BufferedReader(_Reader(self._sock, self._proof))

    def sendall(self, data: Any) -> None:
        """Send all of ``data``."""
        self._sock.settimeout(self._proof.left())
        self._sock.sendall(data)


class _Proving(HTTPConnection):
    """A connection that notes the first byte of a request, and knows when the request has to be over."""

    proof: Proof
    _is_connecting = False

    def connect(self) -> None:
        self._is_connecting = True
        try:
            super().connect()
        finally:
            self._is_connecting = False
        self.sock: Any = _TimedSocket(self.sock, self.proof)

    def _new_conn(self) -> socket.socket:
        """Connect to the first address of the host that answers; the errors are those of urllib3."""
        try:
            return self._connected_to_one_of(addresses_of(self.host, self.port, self.proof.left()))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"No connection to {self.host} in time: {error}") from error
        except OSError as error:
            raise NewConnectionError(self, f"No connection to {self.host}: {error}") from error

    def _connected_to_one_of(self, addresses: Sequence[Address]) -> socket.socket:
        failed = OSError("the name has no address")
        for tried, address in enumerate(addresses):
            try:
                return self._connected(address, self.proof.left() / (len(addresses) - tried))
            except OSError as error:
                failed = error
        raise failed

    def _connected(self, address: Address, seconds: float) -> socket.socket:
        family, kind, protocol, _, where = address
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds if self.timeout is None else min(float(self.timeout), seconds))
            sock.connect(where)
            sock.settimeout(self.proof.left())  # for the TLS handshake, if that is next
        except BaseException:  # also what a signal's handler raises
            sock.close()
            raise
        return sock

    def _tunnel(self) -> None:
        plain, self.sock = self.sock, _TimedSocket(self.sock, self.proof)
        super()._tunnel()
        self.sock = plain
        plain.settimeout(self.proof.left())

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        # Asking a proxy for a tunnel sends nothing of the request.
        self.proof.sent = self.proof.sent or not self._is_connecting
        super().send(data)


class ProvingAdapter(HTTPAdapter):
    """Lets the connections of a requests session prove what they sent.

    :param proof: about the request that is under way; the session is used for one at a time.
    """

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self._let_prove(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Return the pools of connections to a proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if isinstance(manager, ProxyManager):
            self._let_prove(manager)
        else:
            self._proof.sent = True  # a SOCKS proxy has connections of its own, which prove nothing
        return manager

    def _let_prove(self, manager: PoolManager) -> None:
        plain = type("Connection", (_Proving,), {"proof": self._proof})
        secure = type("SecureConnection", (_Proving, HTTPSConnection), {"proof": self._proof})
        manager.pool_classes_by_scheme = {
            "http": type("Pool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class ProvingSession(requests.Session):
    """A requests session whose connections prove what they sent; for one request at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._proof = Proof()
        adapter = ProvingAdapter(self._proof)
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)

    def prove(self, seconds: float) -> Proof:
        """Begin a request that has to be over in ``seconds``."""
        self._proof.sent, self._proof.until = False, time.monotonic() + seconds
        return self._proof
