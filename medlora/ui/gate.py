"""Who is calling: every request gets a caller before the page sees it, or goes no further.

What a caller may do is checked once more where it is done (`medlora.ui.events.guarded`), so hiding a tab is
never what keeps somebody out.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol
from urllib.parse import parse_qs

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from medlora.access.roles import Caller, Permission
from medlora.errors import UserError
from medlora.services.users import Door
from medlora.ui.access_options import Network
from medlora.ui.login_page import LOGIN_POLICY, show_login

CALLER = "medlora.caller"
COOKIE = "medlora-session"
_LONGEST_FORM = 4096
# What the page of a visitor posts; everything else that changes something is an admin's.
_VISITORS_MAY_POST = (
    "/gradio_api/queue/join",
    "/gradio_api/run/",
    "/gradio_api/call/",
    "/gradio_api/cancel",
    "/gradio_api/reset",
)


class Identity(Protocol):
    """A way to know who is calling."""

    def caller(self, request: Request) -> Caller | None:
        """Whose request this is; None for one that must log in first."""

    async def answer(self, request: Request) -> Response | None:
        """The answer to a page of its own (`/login`); None for any other path."""

    def passes(self, request: Request) -> bool:
        """Whether somebody unknown may fetch this, since it leads to a login that lies behind the gate."""

    def turn_away(self, request: Request) -> Response:
        """What somebody unknown gets."""


class Everyone:
    """No login: each visitor is the same caller, the owner at this computer or a guest of a demo."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def caller(self, request: Request) -> Caller | None:
        return self._caller

    async def answer(self, request: Request) -> Response | None:
        return None

    def passes(self, request: Request) -> bool:
        return False

    def turn_away(self, request: Request) -> Response:
        return PlainTextResponse("Nobody is turned away here.", 500)


class Proxies:
    """The proxies in front that are believed."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def sent(self, request: Request) -> bool:
        """Whether the request comes directly from one of them."""
        try:
            peer = ipaddress.ip_address(request.client.host if request.client else "")
        except ValueError:
            return False
        return any(peer in network for network in self._networks)

    def address(self, request: Request) -> str:
        """Where the visitor is: the proxy's last word about it, else the other end of the connection.

        Why an IPv6 address is cut to its network: one visitor has a whole one.
        """
        peer = request.client.host if request.client else ""
        if self.sent(request):
            peer = request.headers.get("x-forwarded-for", peer).rsplit(",", 1)[-1].strip()
        try:
            found = ipaddress.ip_address(peer)
        except ValueError:
            return peer[:64]
        return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))

    def is_secure(self, request: Request) -> bool:
        """Whether the browser speaks TLS, here or to the proxy."""
        forwarded = self.sent(request) and request.headers.get("x-forwarded-proto", "") == "https"
        return forwarded or request.url.scheme == "https"


class PasswordLogin:
    """Name and password on a page of our own; then a cookie."""

    def __init__(self, door: Door, proxies: Proxies) -> None:
        self._door = door
        self._proxies = proxies
        # A hash takes 64 MiB and a processor for a while: many at once would be an attack.
        self._at_once = anyio.CapacityLimiter(2)

    def caller(self, request: Request) -> Caller | None:
        token = request.cookies.get(COOKIE)
        return self._door.sessions.caller(token) if token else None

    async def answer(self, request: Request) -> Response | None:
        path = request.url.path.rstrip("/")
        if path == "/logout" and request.method == "POST":
            self._door.leave(request.cookies.get(COOKIE, ""))
            reply: Response = RedirectResponse("/login", 303)
            reply.delete_cookie(COOKIE, path="/")
            return reply
        if path != "/login":
            return None
        if request.method == "POST":
            return await self._enter(request)
        return RedirectResponse("/", 303) if self.caller(request) else _page(show_login())

    async def _enter(self, request: Request) -> Response:
        form = await _read_form(request)
        name, password = form.get("name", "").strip(), form.get("password", "")
        address = self._proxies.address(request)
        try:
            async with self._at_once:
                token = await run_in_threadpool(self._door.enter, name, password, address)
        except UserError as error:
            return _page(show_login(str(error)), 403)
        reply = RedirectResponse("/", 303)
        reply.set_cookie(
            COOKIE, token, httponly=True, samesite="lax", path="/", secure=self._proxies.is_secure(request)
        )
        return reply

    def passes(self, request: Request) -> bool:
        return False

    def turn_away(self, request: Request) -> Response:
        by_browser = "text/html" in request.headers.get("accept", "") or request.url.path == "/"
        if request.method in ("GET", "HEAD") and by_browser:
            return RedirectResponse("/login", 303)
        return PlainTextResponse("Please log in first.", 401)


class HeaderLogin:
    """The login of a proxy in front, which names the user in a header; who is no user here is turned away."""

    def __init__(self, door: Door, proxies: Proxies, header: str) -> None:
        self._door = door
        self._proxies = proxies
        self._header = header

    def caller(self, request: Request) -> Caller | None:
        if not self._proxies.sent(request):
            return None
        named = request.headers.getlist(self._header)
        user = self._door.users.find(named[0]) if len(named) == 1 and named[0] else None
        return user.caller if user is not None else None

    async def answer(self, request: Request) -> Response | None:
        return None

    def passes(self, request: Request) -> bool:
        return False

    def turn_away(self, request: Request) -> Response:
        return PlainTextResponse("You have no access to medlora. Ask its administrator to add you.", 403)


class Gate:
    """ASGI middleware behind the guard: it names the caller to the page, or turns them away."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        reply = await self._reply(request)
        if reply is not None:
            await reply(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _reply(self, request: Request) -> Response | None:
        """What goes no further is answered here."""
        path = request.url.path
        if path == "/health":
            return PlainTextResponse("ok")
        answer = await self._identity.answer(request)
        if answer is not None:
            return answer
        caller = self._identity.caller(request)
        if caller is None:
            # The server asks itself this once when it starts.
            open_to_all = request.method == "GET" and path == "/gradio_api/startup-events"
            open_to_all = open_to_all or self._identity.passes(request)
            return None if open_to_all else self._identity.turn_away(request)
        if not _may_post(request, caller):
            return PlainTextResponse("You may not do this.", 403)
        request.scope[CALLER] = caller
        return None


def _may_post(request: Request, caller: Caller) -> bool:
    if request.method in ("GET", "HEAD") or caller.may(Permission.MANAGE):
        return True
    return request.url.path.startswith(_VISITORS_MAY_POST)


async def _read_form(request: Request) -> dict[str, str]:
    """The fields of a small form. Why not starlette's: it would take files as well."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    return {name: values[-1] for name, values in fields.items()}


def _page(html: str, status: int = 200) -> Response:
    headers = {"content-security-policy": LOGIN_POLICY, "cache-control": "no-store"}
    return HTMLResponse(html, status, headers)
