"""At which Airflow, and as whom: what airflowctl has stored, the environment, or a question.

airflowctl keeps an address for each of its environments in ``$AIRFLOW_HOME/<environment>.json``, and the token in the
keyring of the machine (service ``airflowctl``, name ``api_token_<environment>``). ``AIRFLOW_CLI_ENVIRONMENT`` names the
environment, ``AIRFLOW_CLI_TOKEN`` holds a token (airflowctl 0.1: ``airflowctl/api/client.py``). None ever comes from an
argument, which others see in the list of processes, and none is ever shown.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from airflow_runctl.exceptions import AirflowRefused, WrongArgument
from airflow_runctl.rest.calls import Login

ENVIRONMENT: Final = "AIRFLOW_CLI_ENVIRONMENT"
TOKEN: Final = "AIRFLOW_CLI_TOKEN"  # noqa: S105
BASE_URL: Final = "AIRFLOW__API__BASE_URL"

DEFAULT_ENVIRONMENT: Final = "production"
DEFAULT_URL: Final = "http://localhost:8080"


def find_login(api_url: str | None, environ: Mapping[str, str] = os.environ) -> Login:
    """Return the login.

    :param api_url: the address that the user named, if any.
    :raises AirflowRefused: if there is no token, and nobody to ask for one.
    :raises WrongArgument: if the address is none.
    """
    name = environ.get(ENVIRONMENT) or DEFAULT_ENVIRONMENT
    if not re.fullmatch(r"[\w.-]+", name):
        raise WrongArgument(f"{ENVIRONMENT} is {name!r}, which no environment of airflowctl can be called.")
    stored = _stored_url(name, environ)
    url = _checked(api_url or stored or environ.get(BASE_URL) or DEFAULT_URL)
    token = environ.get(TOKEN, "").strip()
    if not token and stored is not None and _checked(stored) == url:
        # The token of the keyring is for the address that was stored with it, and goes to no other.
        token = _token_in_keyring(name)
    token = token or _asked_for(url, name)
    if not token.isprintable() or not token.isascii():
        raise AirflowRefused("The token holds characters that no HTTP header can carry: was it pasted as it was given?")
    return Login(url, token)


def _stored_url(name: str, environ: Mapping[str, str]) -> str | None:
    home = environ.get("AIRFLOW_HOME") or str(Path.home() / "airflow")
    file = Path(home) / f"{name}.json"
    try:
        stored = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WrongArgument(f"{file}, where airflowctl keeps the address, cannot be read: {error}") from error
    url = stored.get("api_url") if isinstance(stored, Mapping) else None
    return url if isinstance(url, str) else None


def _checked(url: str) -> str:
    """Return an address as calls need it.

    :raises WrongArgument: if it is none.
    """
    try:
        parts = urlsplit(url.strip())
        is_address = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        is_address = False
    if not is_address or parts.username or parts.query or parts.fragment:
        raise WrongArgument(
            "The address of Airflow's API server must be a http(s) URL, without login, query or fragment."
        )
    return url.strip().rstrip("/").removesuffix("/api/v2")


def _token_in_keyring(name: str) -> str:
    try:
        import keyring
    except ImportError:
        return ""
    from keyring.errors import KeyringError

    try:
        return (keyring.get_password("airflowctl", f"api_token_{name}") or "").strip()
    except KeyringError as error:
        print(f"The keyring cannot be read: {error}", file=sys.stderr)
        return ""


def _asked_for(url: str, name: str) -> str:
    if sys.stdin.isatty():
        token = getpass.getpass(f"Token for Airflow at {url} (it is not shown): ").strip()
        if token:
            return token
    raise AirflowRefused(
        f"There is no token for Airflow at {url}. Set {TOKEN}, or log in with airflowctl (airflowctl auth login --env "
        f"{name} --api-url {url}), whose keyring entry is used for that address."
    )
