"""What a chat writes into the audit log: one entry for the question, one for the answer."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from medlora.safety.audit import AuditLog
from medlora.safety.catalogue import load_catalogue
from medlora.safety.decision import Decision, Finding
from medlora.safety.semantic import MODEL_SHA256, is_installed
from medlora.services.chat_turn import ChatSettings, ChatUpdate
from medlora.workspace import Workspace

_log = logging.getLogger(__name__)


def log_failure(what: str, error: BaseException) -> None:
    """Record where something failed. Why without its message: that may quote what a user wrote."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("chat: %s (%s)\n%s", what, type(error).__name__, frames)


class ChatAudit:
    """Writes entries without raw text, unless the settings ask for it.

    Why two entries: the first is on disk before any model is called, whatever happens then.
    """

    def __init__(self, ws: Workspace) -> None:
        self._log = AuditLog(ws.audit)

    def question(
        self, chat_id: str, turns: tuple[dict[str, str], ...], settings: ChatSettings, decision: Decision
    ) -> None:
        """What was asked and what the safety layer decided."""
        text = turns[-1]["content"]
        self._append(
            {
                "event": "question",
                **_place(chat_id, turns, settings),
                "catalogue_version": decision.catalogue_version,
                "catalogue_sha256": load_catalogue().sha256,
                "semantic_tier": _semantic_tier(settings),
                "level": decision.level.label,
                "action": decision.action.value,
                "register": decision.register,
                "findings": _without_text(decision.findings),
                "set_aside": _without_text(decision.dropped),
                "latency_ms": round(decision.latency_ms, 3),
                "content_filter": bool(settings.safety.get("content_filter", True)),
            },
            text,
            settings,
        )

    def answer(
        self,
        chat_id: str,
        turns: tuple[dict[str, str], ...],
        settings: ChatSettings,
        update: ChatUpdate,
        verdict: str,
    ) -> None:
        """What came of it: the guard's verdict and the weights that spoke."""
        self._append(
            {
                "event": "answer",
                **_place(chat_id, turns, settings),
                "verdict": verdict,
                "level": update.level,
                "action": update.action,
                "findings": _without_text(update.findings),
                "weights": update.weights,
                "tokens": update.tokens,
                "stopped": update.stopped,
                "truncated": update.truncated,
                "failed": update.error is not None,
            },
            update.text,
            settings,
        )

    def _append(self, entry: dict[str, Any], text: str, settings: ChatSettings) -> None:
        entry["digest"] = self._log.digest(text)
        if settings.safety.get("audit_raw_text") is True:
            entry["text"] = text
        self._log.append(entry)


def _place(chat_id: str, turns: tuple[dict[str, str], ...], settings: ChatSettings) -> dict[str, Any]:
    return {
        **({"user": settings.user} if settings.user else {}),
        "chat": chat_id,
        "turn": sum(turn["role"] == "user" for turn in turns),
        "base_model": settings.base_model,
        "adapter": settings.adapter,
        **({"server": settings.server.host} if settings.server else {}),
    }


def _semantic_tier(settings: ChatSettings) -> str | None:
    """The hash of the tier's model, where it was asked too."""
    return MODEL_SHA256 if settings.safety.get("semantic") is True and is_installed() else None


def _without_text(findings: tuple[Finding, ...]) -> list[dict[str, Any]]:
    return [finding.as_dict(with_text=False) for finding in findings]
