"""The panel below the chat in which an answer is rated."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from medlora.errors import UserError
from medlora.feedback.records import Answer
from medlora.services import feedback
from medlora.services.chat_log import Conversation
from medlora.ui import rating_panel
from medlora.ui.rating_panel import Thumb
from medlora.workspace import Workspace

ASKED = {"role": "user", "content": "What is <b>asthma</b>?"}
FIRST = Answer((ASKED,), "It is rare.", "starter", "letters", "abcdef123456")
FIXED = Answer((ASKED,), "Call for help.", "starter", "letters", None, action="block", level="emergency")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def talk(*answers: Answer) -> Conversation:
    conversation = Conversation("chat-1")
    for answer in answers:
        conversation = conversation.add("user", answer.question).add("assistant", answer.text, answer=answer)
    return conversation


def test_the_panel_waits_for_an_answer(workspace: Workspace) -> None:
    for conversation in (None, Conversation("chat-1"), talk(FIRST).add("user", "And now?")):
        assert rating_panel.draw_panel(workspace, conversation, "")[0]["visible"] is False


def test_the_panel_speaks_of_the_last_answer_as_inert_text(workspace: Workspace) -> None:
    box, which, about, *marks = rating_panel.draw_panel(workspace, talk(FIXED, FIRST), "")
    assert (box["visible"], which["visible"], which["value"]) == (True, True, FIRST.answer_id)
    assert "&lt;b&gt;asthma&lt;/b&gt;" in about and "letters · abcdef123456" in about
    assert marks == [None, None, None, "", "It is rare.", ""]
    alone = rating_panel.draw_panel(workspace, talk(FIRST), "")
    assert alone[1]["visible"] is False, "with one answer there is nothing to choose"


def test_a_fixed_text_can_be_rated_but_is_not_offered_for_mending(workspace: Workspace) -> None:
    drawn = rating_panel.draw_panel(workspace, talk(FIXED), "")
    assert "fixed text of the safety layer" in drawn[2] and drawn[-2] == ""
    said = rating_panel.save_rating(
        workspace, talk(FIXED), FIXED.answer_id, "Ada", "safe", None, None, "", ""
    )
    assert said == '<p class="ml-done" role="status">Saved, as Ada.</p>'


def test_what_was_said_stands_in_the_panel_again_for_that_person_alone(workspace: Workspace) -> None:
    marks = ("unsafe", "incorrect", "cold", "No.", "It is common.")
    said = rating_panel.save_rating(workspace, talk(FIRST), FIRST.answer_id, "Ada <i>", *marks)
    assert "Saved with your better answer, as Ada &lt;i&gt;." in said
    again = rating_panel.choose_answer(workspace, talk(FIRST), FIRST.answer_id, " Ada <i> ")
    assert again[1:-1] == list(marks)
    other = rating_panel.choose_answer(workspace, talk(FIRST), FIRST.answer_id, "Ben")
    assert other[1:-1] == [None, None, None, "", "It is rare."]


def test_a_thumb_brings_its_answer_into_the_panel_and_saves_nothing(workspace: Workspace) -> None:
    conversation = talk(FIRST, FIXED)
    liked = rating_panel.take_thumb(workspace, conversation, "Ada", FIXED.answer_id, Thumb(1, True))
    assert (liked[0], liked[2], liked[3]) == (FIRST.answer_id, "safe", "correct")
    disliked = rating_panel.take_thumb(workspace, conversation, "Ada", FIRST.answer_id, Thumb(3, False))
    assert (disliked[0], disliked[2], disliked[3]) == (FIXED.answer_id, None, None)
    assert feedback.list_ratings(workspace) == []


def test_a_thumb_for_the_answer_in_the_panel_keeps_what_was_written(workspace: Workspace) -> None:
    drawn = rating_panel.take_thumb(workspace, talk(FIRST), "Ada", FIRST.answer_id, Thumb(1, False))
    assert drawn == [gr.skip()] * 8
    liked = rating_panel.take_thumb(workspace, talk(FIRST), "Ada", FIRST.answer_id, Thumb(1, True))
    assert liked[2:4] == ["safe", "correct"] and liked[5] == gr.skip()


def test_an_answer_of_another_conversation_cannot_be_rated_from_here(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="there is no answer to rate"):
        rating_panel.save_rating(workspace, talk(FIRST), "answer-x", "Ada", "safe", None, None, "", "")
