"""The configuration that is being written: the one that checks, previews and runs go by."""

from __future__ import annotations

from typing import Any

from medlora.config.schema import Config
from medlora.services import configure
from medlora.workspace import Workspace

ANY_DATASET = "chosen on the page"


def draft_config(workspace: Workspace) -> Config | None:
    """The draft as it resolves; None while it has errors."""
    examined = configure.examine(workspace, configure.load_draft(workspace).text, ANY_DATASET)
    return examined.resolved.config if examined.resolved is not None else None


def policy_settings(workspace: Workspace) -> dict[str, Any] | None:
    """The safety settings of the configuration being written; None, the defaults, while it has errors."""
    config = draft_config(workspace)
    return config.safety.model_dump(mode="json") if config is not None else None
