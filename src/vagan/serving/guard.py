"""Access control: few connections, only requests with the token, from this machine, not from pages of other sites."""

import secrets
from asyncio import Transport
from collections.abc import Collection
from typing import no_type_check

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
HEADER_S = 10.0  # time for the header of a request
TOKEN_HEADER = "X-Vagan-Token"
TOKEN_QUERY = "token"
HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",  # each connection has one request, and one limit of time for its header
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OURSELVES = ("same-origin", "none")  # values of ``Sec-Fetch-Site`` for the server's own pages and for typed addresses


class Connection(H11Protocol):
    """A connection that is closed if there are too many, or if no request has begun in time."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept it, or close it at once."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        self.loop.call_later(HEADER_S, self._require_request)

    def _require_request(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Guard:
    """Middleware that requires the token, and refuses foreign hosts and pages of other sites.

    The token is passed as ``?token=`` or in the header ``X-Vagan-Token``. A foreign host is one that DNS rebinding
    makes resolve to this machine.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app, self._token, self._hosts = app, token, frozenset(hosts)

    @no_type_check  # the tests' type checks mistake a coroutine for its result
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, sent)

    def _refusal(self, request: Request) -> JSONResponse | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host not in self._hosts:
            return _refused(421, "the host must be that of the printed address")
        if origin is not None and origin != f"http://{host}":
            return _refused(403, "requests from pages of other sites are refused")
        if request.headers.get("sec-fetch-site", "none") not in OURSELVES:
            return _refused(403, "requests from other sites are refused; paste the printed address")
        given = request.headers.get(TOKEN_HEADER) or request.query_params.get(TOKEN_QUERY, "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return _refused(401, "the token is missing or wrong; open the whole printed address")
        return None


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status)
