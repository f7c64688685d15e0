"""What the test of a connection says: what was reached and as whom, or what is wrong and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from airflow_runctl.exceptions import BadAnswer, ConnectionSetupError, RunctlError, TransportError
from airflow_runctl.hooks.settings import Access
from airflow_runctl.transport.retry import Patience

PATIENCE: Final = Patience(total=5.0, answer=15.0)
"""Seconds: somebody sits in front of the button."""

MEND: Final = {
    "ProxyError": "The proxy cannot be used: check 'proxies' in the extra, or the proxy that the environment names.",
    "SSLError": "Check the scheme in the host, and 'verify' in the extra if a CA of your own signed the certificate.",
    "NameResolutionError": "The host name is not known here: check its spelling.",
    "NewConnectionError": "Nobody can be reached there: check host and port.",
    "ReadTimeout": "Somebody listens there and says nothing: check the host.",
}
"""What lies beneath a call without an answer, and what to do; the first that fits."""

UNREACHABLE: Final = "Check host and port, and whether the machine that runs this test may go there."
NO_SUCH_PATH: Final = frozenset({404, 405})


def trial(read: Callable[[], Access], conn_id: str, default_host: str) -> tuple[bool, str]:
    """Reach the vendor; return whether that worked, and what to tell whoever asked.

    :param read: reads the connection.
    :param conn_id: its id.
    :param default_host: the host that an empty one means.
    """
    try:
        access = read()
    except ConnectionSetupError as error:
        return False, _without_id(str(error), conn_id)
    where = f"Address: {access.endpoint.base_url}"
    try:
        return True, f"{access.drive(access.vendor.test(), PATIENCE)} {where}"
    except TransportError as error:
        causes = set(_causes(error))
        return False, f"{error} {next((MEND[name] for name in MEND if name in causes), UNREACHABLE)}"
    except ConnectionSetupError as error:  # a CA file that is not there
        return False, f"{error}: check 'verify' in the extra."
    except RunctlError as error:
        if isinstance(error, BadAnswer) or getattr(error, "status", None) in NO_SUCH_PATH:
            where += f" (if that is not the vendor's, mend the host; an empty one means {default_host})"
        return False, f"{error} {where}"


def _causes(error: BaseException) -> Iterator[str]:
    """Yield the class names of what led to ``error``; urllib3 hides the true reason inside another error."""
    cause: object = error.__cause__
    while isinstance(cause, BaseException):
        yield type(cause).__name__
        inner = cause.args[0] if cause.args else None
        cause = getattr(inner, "reason", None)


def _without_id(message: str, conn_id: str) -> str:
    """Take the connection's id out: the button of the form tests under an id that Airflow made up."""
    named = f"onnection {conn_id!r}"
    return message.replace(f"C{named}", "The connection").replace(f"of c{named}", "of the connection")
