"""Who may ask: programs and people on this machine that know the token, and no page of another site."""

import secrets
from collections.abc import Collection
from typing import no_type_check

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OURSELVES = ("same-origin", "none")
"""Values of ``Sec-Fetch-Site`` that browsers send for our own pages, and for typed addresses."""


class Guard:
    """Middleware that lets through what knows the token, and refuses foreign hosts and pages of other sites.

    A foreign host is one that a name server made to mean this machine (DNS rebinding).

    Parameters
    ----------
    app
        What is guarded.
    token
        Given as ``?token=``, or in the header ``X-Vagan-Token``.
    hosts
        Accepted values of the header ``Host``.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app, self._token, self._hosts = app, token, frozenset(hosts)

    @no_type_check  # what checks types in the tests takes a coroutine for its result
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # web sockets are not spoken here

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, sent)

    def _refusal(self, request: Request) -> JSONResponse | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host not in self._hosts:
            return _refused(421, "this server answers to its own address alone; open the one that was printed")
        if origin is not None and origin != f"http://{host}":
            return _refused(403, "pages of other sites may not ask this server")
        if request.headers.get("sec-fetch-site", "none") not in OURSELVES:
            return _refused(403, "pages of other sites may not ask this server; paste the address that was printed")
        given = request.headers.get("x-vagan-token") or request.query_params.get("token", "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return _refused(401, "the token is missing or wrong; open the whole address that was printed")
        return None


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status)
