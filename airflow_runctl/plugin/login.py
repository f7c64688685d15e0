"""Who asks, from where, and what they may: stands before every route, since Airflow guards no mounted application.

A token in the header is a login by itself: no other site can send it. The cookie of a session is sent by the browser
whoever made it ask, so that with it the request has to come from a page of Airflow's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from airflow_runctl.compat.api_server import EDIT, LOGIN_COOKIE, READ, Rights, own_sites, who_asks
from airflow_runctl.runs import printable

READ_ONLY: Final = frozenset({"GET", "HEAD"})
OWN: Final = "same-origin"
FROM_ELSEWHERE: Final = frozenset({"cross-site", "same-site"})
"""What a browser says in ``Sec-Fetch-Site`` of a request that another site made it send."""

bearer = HTTPBearer(auto_error=False, description="A token of Airflow's, from /auth/token")
session = APIKeyCookie(name=LOGIN_COOKIE, auto_error=False, description="The session of Airflow's own pages")


@dataclass(frozen=True, slots=True)
class Caller:
    """A user who asks.

    :param name: for records.
    :param rights: what the user may.
    :param credential: the header with which Airflow's own API is asked for the user.
    """

    name: str
    rights: Rights = field(repr=False)
    credential: Mapping[str, str] = field(repr=False)

    async def may(self, method: str, dag_ids: Iterable[str]) -> frozenset[str]:
        """Return those of these Dags whose task instances the user may read, or edit."""
        return await asyncio.to_thread(self.rights.dags, method, frozenset(dag_ids))

    async def may_sweep(self, dag_ids: Iterable[str]) -> frozenset[str]:
        """Return those of these Dags whose task instances the user may edit, and whose XComs read."""
        return await asyncio.to_thread(self.rights.dags_with_xcoms, await self.may(EDIT, dag_ids))


async def caller(
    request: Request,
    response: Response,
    token: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
    cookie: Annotated[str | None, Security(session)],
) -> Caller:
    """Return who asks.

    :raises HTTPException: 401 without a login, 403 from another site.
    """
    response.headers["Cache-Control"] = "no-store"  # it is this user's answer
    check_site(request.method, request.headers, by_cookie=token is None and cookie is not None)
    user = await who_asks(request, token.credentials if token else None)
    return Caller(printable(user.get_name(), 100), Rights(user), _credential(token, cookie))


def _credential(token: HTTPAuthorizationCredentials | None, cookie: str | None) -> dict[str, str]:
    if token is not None:
        return {"Authorization": f"Bearer {token.credentials}"}
    # Without either, Airflow has let a stranger in ([fab] auth_role_public), and knows that one by the lack of both.
    return {} if cookie is None else {"Cookie": f"{LOGIN_COOKIE}={cookie}"}


Asking = Annotated[Caller, Depends(caller)]


async def reader(asking: Asking) -> Caller:
    """Return who asks, and may read the task instances of some Dag.

    :raises HTTPException: 403 else.
    """
    return await _with_right(asking, READ, "read")


async def actor(asking: Asking) -> Caller:
    """Return who asks, and may edit the task instances of some Dag.

    :raises HTTPException: 403 else.
    """
    return await _with_right(asking, EDIT, "edit")


async def _with_right(asking: Caller, method: str, words: str) -> Caller:
    if not await asyncio.to_thread(asking.rights.any_dag, method):
        raise HTTPException(403, f"The login lacks the right to {words} task instances of any Dag.")
    return asking


Reader = Annotated[Caller, Depends(reader)]
Actor = Annotated[Caller, Depends(actor)]


# -- from where ------------------------------------------------------------------------------------------


def check_site(method: str, headers: Mapping[str, Any], *, by_cookie: bool) -> None:
    """Let a request through that no other site has made a browser send.

    :param by_cookie: True if the login is the session's cookie.
    :raises HTTPException: 403 else.
    """
    origin, fetched = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        if not _is_own(origin, headers.get("host", "")):
            raise HTTPException(403, "The request comes from another site.")
        return
    if fetched in FROM_ELSEWHERE:
        raise HTTPException(403, "The request comes from another site.")
    if by_cookie and method not in READ_ONLY and fetched != OWN:
        # A browser names the origin of each such request; what does not can send a token in the header.
        raise HTTPException(403, "With a session's cookie the request has to name its origin.")


def _is_own(origin: str, host: str) -> bool:
    """Return True if a page of this origin is Airflow's own; scheme and port may be a proxy's."""
    place = _place(origin)
    return place != "" and place in map(_place, (f"//{host}", *own_sites()))


def _place(address: str) -> str:
    """Return host and port of an address, without the port that goes without saying; nothing if it is none."""
    try:
        parts = urlsplit(address)
        name, port = parts.hostname, parts.port
    except ValueError:
        return ""
    return "" if not name else name if port in (None, 80, 443) else f"{name}:{port}"
