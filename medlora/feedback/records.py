"""What is kept of people's judgement: the answer they saw, what they said of it, which of two they chose."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Safety = Literal["safe", "unsafe"]
Correctness = Literal["correct", "incomplete", "incorrect"]
Tone = Literal["fits", "technical", "cold", "alarming", "wordy"]
Verdict = Literal["left", "right", "tie", "both_bad"]
SAFETY: tuple[Safety, ...] = ("safe", "unsafe")
CORRECTNESS: tuple[Correctness, ...] = ("correct", "incomplete", "incorrect")
TONES: tuple[Tone, ...] = ("fits", "technical", "cold", "alarming", "wordy")
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "both_bad")
Turns = tuple[Mapping[str, str], ...]
# Letters alone: an id of digits would look like a record number to the scan for personal data.
UNVERIFIED = "not verified"
"""What stands where the hash of weights would: a server gave the answer, and nobody here saw its weights."""
_LETTERS = "bcdfghjklmnpqrstvwxz"


def new_id(prefix: str) -> str:
    """`rating-kqzpbdhwtmxr`: an id without a digit."""
    return f"{prefix}-" + "".join(secrets.choice(_LETTERS) for _ in range(12))


def now() -> str:
    """The time as the records write it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def short_model(name: str) -> str:
    """A base model's name; of one in a folder the last part, since the way there is nobody's business."""
    path = Path(name)
    return path.name if path.is_absolute() else name


@dataclass(frozen=True)
class Answer:
    """An answer as it was shown, with everything that tells which weights gave it and how.

    turns: the conversation up to and including the question. adapter: None for the base model alone.
    weights: the short hash of the adapter's weights, of the base model's without one; None if no model
    was asked. settings: sampling and safety settings of that answer. catalogue: the safety catalogue's
    version. whole: False for an answer that was stopped, cut at its longest length, or broke off.
    """

    turns: Turns
    text: str
    base_model: str = ""
    adapter: str | None = None
    weights: str | None = None
    level: str = "answer"
    action: str = "answer"
    system_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    catalogue: str = ""
    whole: bool = True
    answer_id: str = field(default_factory=lambda: new_id("answer"))
    created: str = field(default_factory=now)

    def __hash__(self) -> int:
        return hash(self.answer_id)

    @property
    def question(self) -> str:
        """What was asked last."""
        return self.turns[-1]["content"] if self.turns else ""

    @property
    def speaker(self) -> str:
        """The adapter's name, or the base model's with a word that it is one; a server's model as it is."""
        if self.weights == UNVERIFIED:
            return self.base_model
        return self.adapter or f"{short_model(self.base_model)} (base model)"

    @property
    def label(self) -> str:
        """The speaker with the short hash of its weights."""
        if self.weights == UNVERIFIED:
            return f"{self.speaker} · weights {self.weights}"
        return f"{self.speaker} · {self.weights}" if self.weights else self.speaker

    @property
    def by_model(self) -> bool:
        """Whether a model's words stand in it: not a fixed text of the safety layer."""
        return self.weights is not None and self.action in ("answer", "annotate")


@dataclass(frozen=True)
class Rating:
    """What one person said of one answer. What was not said is None or empty.

    correction: the answer as it should have been.
    """

    answer_id: str
    rater: str
    safety: Safety | None = None
    correctness: Correctness | None = None
    tone: Tone | None = None
    comment: str = ""
    correction: str = ""
    rating_id: str = field(default_factory=lambda: new_id("rating"))
    created: str = field(default_factory=now)
    changed: str = field(default_factory=now)

    @property
    def is_empty(self) -> bool:
        said = (self.safety, self.correctness, self.tone, self.comment.strip(), self.correction.strip())
        return not any(said)


@dataclass(frozen=True)
class RatedAnswer:
    """A rating with the answer it speaks of."""

    rating: Rating
    answer: Answer


@dataclass(frozen=True)
class Vote:
    """Which of two answers to one question somebody preferred.

    blinded: whether the voter could not see who had answered.
    """

    rater: str
    verdict: Verdict
    left: Answer
    right: Answer
    blinded: bool = True
    vote_id: str = field(default_factory=lambda: new_id("vote"))
    created: str = field(default_factory=now)

    @property
    def winner(self) -> Answer | None:
        return {"left": self.left, "right": self.right}.get(self.verdict)

    @property
    def loser(self) -> Answer | None:
        return {"left": self.right, "right": self.left}.get(self.verdict)
