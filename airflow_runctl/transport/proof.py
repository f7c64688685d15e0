"""What is known of a request: whether a byte of it has left this machine, and when it has to be over.

The first cannot be inferred from an error's class: ``ProxyError`` and ``SSLError`` come before a request and long
after it. So whoever sends notes it: the connections of requests (``connections.py``), a trace of aiohttp (``aio.py``).

====================================================  ===============  ====================
what happened                                         a byte was sent  a start is sent again
====================================================  ===============  ====================
no such name, nobody listens, no way there            no               yes
TLS handshake not finished, certificate refused       no               yes
proxy is away, proxy refuses the tunnel               no               yes
connection closed or reset after the request          yes              never
a proxy passes the request on, and hangs up           yes              never
TLS stream broken after the request                   yes              never
no answer in time                                     yes              never
====================================================  ===============  ====================
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

LEAST: Final = 0.001
"""Seconds; a socket without any time left would wait for ever."""


@dataclass(slots=True)
class Proof:
    """What is known of one request.

    :param sent: True from the first byte on; until then it surely did not arrive.
    :param until: when it has to be over (monotonic time).
    """

    sent: bool = False
    until: float = float("inf")

    def left(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: if there are none.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this request is up")
        return max(LEAST, left)
