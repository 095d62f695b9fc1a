"""Levels are ordered and each has one action."""

import pytest

from medlora.safety.levels import Action, Level, action_for


def test_the_levels_are_ordered_so_that_the_highest_wins() -> None:
    assert max(Level.CAUTION, Level.CRISIS, Level.DEFER) is Level.CRISIS
    assert [level.label for level in Level] == ["answer", "caution", "defer", "emergency", "crisis"]


@pytest.mark.parametrize(
    ("level", "action"),
    [
        (Level.ANSWER, Action.ANSWER),
        (Level.CAUTION, Action.ANNOTATE),
        (Level.DEFER, Action.DEFER),
        (Level.EMERGENCY, Action.BLOCK),
        (Level.CRISIS, Action.BLOCK),
    ],
)
def test_actions_follow_levels(level: Level, action: Action) -> None:
    assert action_for(level) is action


def test_with_the_filter_off_emergencies_and_crises_still_stop_the_model() -> None:
    assert action_for(Level.DEFER, content_filter=False) is Action.ANNOTATE
    assert action_for(Level.EMERGENCY, content_filter=False) is Action.BLOCK
    assert action_for(Level.CRISIS, content_filter=False) is Action.BLOCK


def test_only_answer_and_annotate_call_the_model() -> None:
    assert [action.calls_model for action in Action] == [True, True, False, False]
