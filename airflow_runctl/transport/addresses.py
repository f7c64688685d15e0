"""The addresses of a host, looked up within a time: the system takes none, and answers when it likes."""

from __future__ import annotations

import socket
import threading
from typing import Any

from urllib3.util.connection import allowed_gai_family

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""What ``getaddrinfo`` gives: family, type, protocol, canonical name, and where to connect to."""


def addresses_of(host: str, port: int, seconds: float) -> list[Address]:
    """Return the addresses of ``host``, in the order in which they are to be tried.

    The look-up has a thread of its own, which ends when the system answers; so a signal, too, is heard meanwhile.

    :param seconds: how long to wait for the system's answer.
    :raises TimeoutError: if it does not come in time.
    :raises OSError: what the look-up ended with: ``socket.gaierror`` for a name that there is not.
    """
    found: list[Address] = []
    failed: list[Exception] = []
    done = threading.Event()

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), socket.SOCK_STREAM))
        except Exception as error:  # handed to whoever waits
            failed.append(error)
        finally:
            done.set()

    threading.Thread(target=look_up, name="runctl-look-up", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError(f"the addresses of {host} were not told in time")
    if failed:
        raise failed[0]
    return found
