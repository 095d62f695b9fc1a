"""What a configuration asks of the safety layer, made ready once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medlora.safety.messages import Messages

SHIPPED_SAFETY_KEYWORDS = ("emergency", "diagnosis", "prescription", "dosage")
SHIPPED_DEFER_KEYWORDS = ("chest pain", "difficulty breathing", "severe", "emergency")


@dataclass(frozen=True)
class Policy:
    """The safety settings in force for one chat.

    `safety_keywords` raise a message to caution, `defer_keywords` at least to defer. `strict` withholds
    the answers that are only annotated otherwise. `semantic` asks the semantic tier too, if it is
    installed. With `content_filter` off, emergencies and crises
    still stop the model.
    """

    content_filter: bool = True
    safety_keywords: tuple[str, ...] = SHIPPED_SAFETY_KEYWORDS
    defer_keywords: tuple[str, ...] = SHIPPED_DEFER_KEYWORDS
    strict: bool = False
    semantic: bool = False
    country: str | None = None
    system_prompt: str = ""
    messages: Messages = field(default_factory=lambda: Messages.build(None))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Policy:
        """The policy of a configuration's `safety` section.

        Raises: UserError for edited messages that `check_messages` refuses.
        """
        country = settings.get("country")
        return cls(
            content_filter=bool(settings.get("content_filter", True)),
            safety_keywords=_keywords(settings.get("safety_keywords", SHIPPED_SAFETY_KEYWORDS)),
            defer_keywords=_keywords(settings.get("defer_keywords", SHIPPED_DEFER_KEYWORDS)),
            strict=bool(settings.get("strict", False)),
            semantic=bool(settings.get("semantic", False)),
            country=None if country in (None, "", "none") else str(country).upper(),
            system_prompt=str(settings.get("system_prompt") or ""),
            messages=Messages.build(country, settings.get("messages") or {}),
        )


def _keywords(words: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in words or () if word.strip())
