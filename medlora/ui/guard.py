"""What stands between the port and the page: who may talk to it, and what the page may load.

Covered: a foreign Host (DNS rebinding), a foreign or `null` Origin (a page elsewhere posting here),
cross-site requests without an Origin, bodies larger than any upload may be, pictures and scripts from other
machines, framing, referrers.
Not covered: who the caller is (`medlora.ui.gate` knows), and other programs of this computer's users, which
can name the right host.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
LARGEST_BODY = 210 * 2**20
"""The largest upload (200 MB) with what a form wraps around it. Units: bytes."""
_READING = frozenset({"GET", "HEAD"})
_POLICY = (
    ("default-src", "'self'"),
    # Gradio's page carries inline scripts, and its HTML component compiles its (fixed) template.
    ("script-src", "'self' 'unsafe-inline' 'unsafe-eval'"),
    ("style-src", "'self' 'unsafe-inline'"),
    ("img-src", "'self' data: blob:"),
    ("media-src", "'self' data: blob:"),
    ("font-src", "'self' data:"),
    ("connect-src", "'self'"),
    ("worker-src", "'self' blob:"),
    ("form-action", "'self'"),
    ("object-src", "'none'"),
    ("base-uri", "'self'"),
)


def content_policy(frame_ancestors: str = "'none'") -> str:
    """The Content-Security-Policy: everything from this server, nothing from anywhere else."""
    return "; ".join(f"{name} {value}" for name, value in (*_POLICY, ("frame-ancestors", frame_ancestors)))


def host_name(netloc: str) -> str:
    """The host of `host:port` in lower case, without brackets; empty if it is malformed."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").lower()
    except ValueError:
        return ""


class LocalGuard:
    """ASGI middleware that refuses what does not come from this page, and says what the page may load."""

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] = LOCAL_HOSTS, frame_ancestors: str = "'none'"
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._headers = [
            (b"content-security-policy", content_policy(frame_ancestors).encode()),
            # Not no-referrer: a form of our own would then come without an origin, and be refused.
            (b"referrer-policy", b"same-origin"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        refusal = self.refuse(scope["method"], headers) or refuse_size(scope["method"], headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", [])
                named = {name.lower() for name, _ in own}
                message["headers"] = [*own, *(item for item in self._headers if item[0] not in named)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def refuse(self, method: str, headers: Headers) -> PlainTextResponse | None:
        """The answer to a request that must not pass, else None."""
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return PlainTextResponse("This address is not served here.", 400)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if method not in _READING and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        return None


def refuse_size(method: str, headers: Headers) -> PlainTextResponse | None:
    """The answer to a body that is too large, or that does not say how large it is, before it is read."""
    if method in _READING:
        return None
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or (length and not length.isdecimal()):
        return PlainTextResponse("A request must say how long it is.", 411)
    if len(length) > 15 or int(length or 0) > LARGEST_BODY:
        return PlainTextResponse("This file is too large: 200 MB at most.", 413)
    return None


def guard_middleware(hosts: Iterable[str] = LOCAL_HOSTS, frame_ancestors: str = "'none'") -> list[Middleware]:
    """The list that a Gradio app takes as `middleware`."""
    return [Middleware(LocalGuard, hosts=frozenset(hosts), frame_ancestors=frame_ancestors)]
