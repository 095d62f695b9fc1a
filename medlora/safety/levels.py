"""The five levels and what each one does. Ordinal: the highest finding wins."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Level(IntEnum):
    """How far a message is from one that a model may answer."""

    ANSWER = 0
    CAUTION = 1
    DEFER = 2
    EMERGENCY = 3
    CRISIS = 4

    @property
    def label(self) -> str:
        """The word used in files, in JSON and on the page."""
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> Level:
        """The level of a label.

        Raises: KeyError for a word that is no level.
        """
        return cls[label.upper()]


class Action(StrEnum):
    """What the caller does with a message."""

    ANSWER = "answer"
    ANNOTATE = "annotate"
    DEFER = "defer"
    BLOCK = "block"

    @property
    def calls_model(self) -> bool:
        return self in (Action.ANSWER, Action.ANNOTATE)


_ACTIONS = {
    Level.ANSWER: Action.ANSWER,
    Level.CAUTION: Action.ANNOTATE,
    Level.DEFER: Action.DEFER,
    Level.EMERGENCY: Action.BLOCK,
    Level.CRISIS: Action.BLOCK,
}


def action_for(level: Level, *, content_filter: bool = True) -> Action:
    """The action of a level.

    Why: with the filter off the model may answer what would be deferred, under a banner, but an
    emergency and a crisis still stop it.
    """
    action = _ACTIONS[level]
    if not content_filter and action is Action.DEFER:
        return Action.ANNOTATE
    return action
