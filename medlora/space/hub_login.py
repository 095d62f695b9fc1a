"""The Hub's login before the whole app on a Space: the author and named users come in, nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from medlora.access.roles import Caller, Role
from medlora.space.settings import SpaceSettings
from medlora.ui.login_page import LOGIN_POLICY, show_hub_login

_OPEN = ("/login/huggingface", "/login/callback")


class HubLogin:
    """Reads the session that Gradio's OAuth routes keep; decides the role by the settings of the Space."""

    def __init__(self, settings: SpaceSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def caller(self, request: Request) -> Caller | None:
        name = self._name(request)
        if name.casefold() in self._settings.admins:
            return Caller(name, Role.ADMIN)
        if name.casefold() in self._settings.testers:
            return Caller(name, Role.TESTER)
        return None

    def _name(self, request: Request) -> str:
        session = request.scope.get("session") or {}
        info = session.get("oauth_info") or {}
        if float(info.get("expires_at") or 0) <= self._clock():
            return ""
        return str((info.get("userinfo") or {}).get("preferred_username") or "")

    def passes(self, request: Request) -> bool:
        """The way to the Hub and back is open to all."""
        return request.method == "GET" and request.url.path.rstrip("/") in _OPEN

    async def answer(self, request: Request) -> Response | None:
        if request.url.path.rstrip("/") == "/logout" and request.method == "POST":
            request.scope.get("session", {}).pop("oauth_info", None)
            return RedirectResponse("/", 303)
        return None

    def turn_away(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD") and request.url.path == "/":
            name = self._name(request)
            problem = f"{name} has no access here; ask the author of this Space." if name else ""
            headers = {"content-security-policy": LOGIN_POLICY, "cache-control": "no-store"}
            return HTMLResponse(show_hub_login(problem), 403 if name else 200, headers)
        return PlainTextResponse("Please log in first.", 401)
