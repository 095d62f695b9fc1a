"""The configuration that is being written: the one that checks, previews and runs go by."""

from __future__ import annotations

from typing import Any

from medlora.config.schema import Config
from medlora.config.server import Server, server_of
from medlora.services import configure
from medlora.workspace import Workspace


def draft_config(workspace: Workspace) -> Config | None:
    """The draft as it resolves; None while it has errors."""
    return configure.resolve_draft(workspace)


def policy_settings(workspace: Workspace) -> dict[str, Any] | None:
    """The safety settings of the configuration being written; None, the defaults, while it has errors."""
    config = draft_config(workspace)
    return config.safety.model_dump(mode="json") if config is not None else None


def draft_server(workspace: Workspace) -> Server | None:
    """The server that the configuration being written names, if it does and has no errors."""
    config = draft_config(workspace)
    return server_of(config.inference) if config is not None else None


class ServerWatch:
    """Where conversations may go besides this machine; looked up anew whenever the draft has changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._seen: tuple[str, str] | None = None

    def remote_host(self) -> str:
        """The host of a server elsewhere that may be asked; empty if there is none."""
        text = configure.load_draft(self._workspace).text
        seen = self._seen
        if seen is None or seen[0] != text:
            server = draft_server(self._workspace)
            host = server.host if server is not None and not server.is_local else ""
            seen = self._seen = (text, host)
        return seen[1]
