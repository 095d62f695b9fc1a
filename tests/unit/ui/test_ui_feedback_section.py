"""Ratings and votes at a glance, and what is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import UserError
from medlora.feedback.records import Answer, Rating, Vote
from medlora.services import data, feedback
from medlora.ui import feedback_section
from medlora.workspace import Workspace

ASKED = {"role": "user", "content": "What is <b>asthma</b>?"}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "handed-out"))
    return Workspace.open(tmp_path / "home")


def answer(text: str = "It is rare.", adapter: str | None = "letters") -> Answer:
    return Answer((ASKED,), text, "starter", adapter, "abcdef123456")


def rate(workspace: Workspace, item: Answer, **said: Any) -> Rating:
    return feedback.rate_answer(workspace, item, Rating(item.answer_id, "Ada <i>", **said))


def test_before_the_first_rating_the_section_says_how_to_begin(workspace: Workspace) -> None:
    drawn = feedback_section.draw(workspace, None, None, False)
    assert drawn[1:4] == ["", "", feedback_section.NOTHING]
    assert drawn[4]["visible"] is False and drawn[8]["visible"] is False


def test_what_people_said_is_inert_text_with_its_weights(workspace: Workspace) -> None:
    rate(workspace, answer(), safety="unsafe", correctness="incorrect", correction="It is <script>common.")
    feedback.vote(workspace, Vote("Ben", "left", answer(), answer("x", None)))
    _, figures, standings, table, *_ = feedback_section.draw(workspace, None, None, False)
    assert "<small>by 2 people</small>" in figures and "1 of them blind" in figures
    assert "letters / starter (base model)" in standings and "100 % (21 to 100)" in standings
    assert "not enough votes yet: 19 more that choose a side" in standings
    assert "&lt;b&gt;asthma" in table and "&lt;script&gt;" in table and "Ada &lt;i&gt;" in table
    assert "letters · abcdef123456" in table


def test_one_adapters_answers_can_be_looked_at_alone(workspace: Workspace) -> None:
    rate(workspace, answer(), safety="safe")
    rate(workspace, answer(adapter=None), safety="unsafe")
    whose, figures, *_ = feedback_section.draw(workspace, "letters", None, False)
    assert whose["choices"] == [
        ("All answers", "everything"), ("letters", "letters"), ("Base models alone", ""),
    ]  # fmt: skip
    assert "<small>of 1 judged</small>" in figures
    assert feedback_section.draw(workspace, "gone", None, False)[0]["value"] == "everything"


def test_one_press_makes_a_dataset_of_the_corrections(workspace: Workspace) -> None:
    rate(workspace, answer(), correction="It is common and can be treated.")
    said, name, look = feedback_section.make_dataset(workspace, "everything", "", False, None)
    assert "The dataset corrections is ready" in said and "1 usable row, 1 of them from ratings" in said
    assert (name, look["visible"]) == ("corrections", True)
    assert data.show_dataset(workspace, "corrections").usable == 1


def test_corrections_that_may_identify_a_person_wait_for_a_decision(workspace: Workspace) -> None:
    rate(workspace, answer(), correction="Ask Mr. John Smith, MRN 12345678, to come again.")
    assert feedback_section.draw(workspace, None, None, False)[7]["visible"] is True
    with pytest.raises(UserError, match=r"^personal data: 1 correction may identify a person"):
        feedback_section.make_dataset(workspace, "everything", "", False, None)
    assert data.list_datasets(workspace) == []
    feedback_section.make_dataset(workspace, "everything", "", False, "redact")
    assert "12345678" not in data.source_of(workspace, "corrections").read_text(encoding="utf-8")


def test_files_lie_where_the_page_may_hand_them_out(workspace: Workspace, tmp_path: Path) -> None:
    rate(workspace, answer(), correction="It is common.")
    path = feedback_section.write_file(workspace, "preferences", "everything", False)
    assert path.is_relative_to(tmp_path / "handed-out")
    assert json.loads(path.read_text(encoding="utf-8"))["rejected"][0]["content"] == "It is rare."


def test_deleting_asks_first_and_needs_a_choice(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="nothing is chosen"):
        feedback_section.ask_to_delete([])
    assert "Delete 1 rating or vote for good?" in feedback_section.ask_to_delete(["rating-x"])[1]
