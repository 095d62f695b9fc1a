"""Test scripts on the page: making, following, judging."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from medlora.errors import UserError
from medlora.feedback import scripts as stored
from medlora.feedback.records import Answer
from medlora.feedback.scripts import Owner, Prompt, Script, Seat
from medlora.services import feedback
from medlora.ui import judge_card, script_section
from medlora.workspace import Workspace

SEATS = (Seat("letters", "starter"), Seat(None, "starter"))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "handed-out"))
    return Workspace.open(tmp_path / "home")


def answer(prompt: Prompt, text: str, adapter: str | None, action: str = "answer") -> Answer:
    turns = ({"role": "user", "content": prompt.text},)
    weights = None if action == "block" else "abcdef123456" if adapter else "bbbbbb123456"
    return Answer(turns, text, "starter", adapter, weights, action=action)


def answered(workspace: Workspace, *prompts: str, expect: str = "") -> Script:
    asked = tuple(Prompt(text, expect) for text in prompts)
    answers = {
        place: (answer(prompt, "From the adapter.", "letters"), answer(prompt, "From the base.", None))
        for place, prompt in enumerate(asked)
    }
    return stored.save_script(workspace, Script("Clinic <b>", asked, SEATS), answers)


def test_without_a_script_the_section_says_what_one_is_for(workspace: Workspace) -> None:
    drawn = script_section.draw(workspace, None)
    assert script_section.NO_SCRIPT in drawn and drawn[2]["visible"] is False


def test_the_state_is_drawn_once_and_again_when_it_changes(workspace: Workspace) -> None:
    script = answered(workspace, "One?", "Two?")
    progress, run, stop, seen = script_section.watch(workspace, script.script_id, "")
    assert "All answered: 2 of 2 prompts answered" in progress and "starter (base model)" in progress
    assert (run["visible"], stop["visible"]) == (False, False)
    assert script_section.watch(workspace, script.script_id, seen) == [gr.skip()] * 4
    stored.claim_script(workspace, script, Owner(999_999_999, 1.0))
    assert script_section.watch(workspace, "script-gone", seen) == [gr.skip()] * 4


def test_a_script_that_broke_off_says_why_and_can_go_on(workspace: Workspace) -> None:
    script = stored.save_script(workspace, Script("Clinic", (Prompt("One?"),), SEATS))
    stored.release_script(workspace, script.script_id, "adapter <x>: it is damaged")
    progress, run, *_ = script_section.watch(workspace, script.script_id, "")
    assert "Broke off: 0 of 1 prompt answered" in progress and "adapter &lt;x&gt;: it is damaged" in progress
    assert (run["visible"], run["value"]) == (True, "Go on")


def test_a_file_of_prompts_goes_into_the_field_and_a_shared_script_becomes_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    plain = tmp_path / "up" / "prompts.txt"
    plain.parent.mkdir()
    plain.write_text("What is asthma?\n", encoding="utf-8")
    assert script_section.take_file(workspace, plain, []) == (None, "What is asthma?\n")
    assert not plain.exists(), "an upload is removed once it is read"
    shared = script_section.share(workspace, answered(workspace, "One?").script_id, with_answers=True)
    assert shared.is_relative_to(tmp_path / "handed-out")
    script_id, text = script_section.take_file(workspace, shared, ["base:other"])
    assert text == "" and script_id is not None
    assert stored.read_script(workspace, script_id).seats == SEATS, "its answers keep their speakers"


def test_a_running_script_is_not_deleted(workspace: Workspace) -> None:
    from medlora.runs.process import ProcessMark

    script = answered(workspace, "One?")
    mark = ProcessMark.own()
    stored.claim_script(workspace, script, Owner(mark.pid, mark.start))
    with pytest.raises(UserError, match="it is running; stop it first"):
        script_section.delete(workspace, script.script_id)
    stored.release_script(workspace, script.script_id)
    script_section.delete(workspace, script.script_id)
    assert stored.list_scripts(workspace) == []


def test_a_judge_sees_no_names_until_all_is_judged(workspace: Workspace) -> None:
    script = answered(workspace, "What is <b>asthma</b>?", "Two?", expect="<i>inhaler")
    assert judge_card.draw(workspace, script.script_id, None, None)[1] is not None, "before a name is given"
    drawn = judge_card.draw(workspace, script.script_id, "Ada", None)
    assert len(drawn) == judge_card._DRAWN
    sheet, html = drawn[1], drawn[2]
    assert "&lt;b&gt;asthma" in html and "&lt;i&gt;inhaler" in html and "Prompt 1 of 2" in html
    second = judge_card.vote(workspace, script.script_id, sheet, "Ada", 0, all_bad=False)
    seen = str([drawn[2:], second[2:]])
    for secret in ("letters", "base model", "abcdef123456", "starter"):
        assert secret not in seen
    last = judge_card.vote(workspace, script.script_id, second[1], "Ada", None, all_bad=True)
    assert "All is judged" in last[2] and "letters / starter (base model)" in last[-1]


def test_what_is_judged_is_the_order_that_was_seen(workspace: Workspace) -> None:
    script = answered(workspace, "One?")
    for number in range(8):
        sheet = judge_card.draw(workspace, script.script_id, "", None)[1]
        judge_card.vote(workspace, script.script_id, sheet, f"Rater {number}", 1, all_bad=False)
        assert feedback.list_votes(workspace)[0].winner == sheet.answers[1]


def test_a_second_thought_replaces_the_first(workspace: Workspace) -> None:
    script = answered(workspace, "One?", "Two?")
    first = judge_card.draw(workspace, script.script_id, "Ada", 0)[1]
    judge_card.vote(workspace, script.script_id, first, "Ada", 0, all_bad=False)
    again = judge_card.step(workspace, script.script_id, "Ada", None, 1)
    assert "Prompt 1 of 2 · judged" in again[2]
    judge_card.vote(workspace, script.script_id, again[1], "Ada", 1, all_bad=False)
    assert [vote.winner for vote in feedback.list_votes(workspace)] == [again[1].answers[1]]


def test_steps_stay_within_what_is_answered(workspace: Workspace) -> None:
    script = answered(workspace, "One?", "Two?")
    second = judge_card.step(workspace, script.script_id, "Ada", judge_card.draw(
        workspace, script.script_id, "Ada", 0)[1], 1)  # fmt: skip
    assert second[1].position == 1
    assert judge_card.step(workspace, script.script_id, "Ada", second[1], 1)[1].position == 1


def test_while_a_script_runs_nothing_moves_under_the_judges_hand(workspace: Workspace) -> None:
    script = answered(workspace, "One?", "Two?")
    shown = judge_card.draw(workspace, script.script_id, "Ada", 1)[1]
    assert judge_card.follow(workspace, script.script_id, "Ada", shown) == [gr.skip()] * judge_card._DRAWN
    other = answered(workspace, "Other?")
    assert judge_card.follow(workspace, other.script_id, "Ada", shown)[1].script_id == other.script_id


def test_one_of_the_answers_can_be_rated_in_full(workspace: Workspace) -> None:
    script = answered(workspace, "One?")
    shown = judge_card.draw(workspace, script.script_id, "Ada", None)[1]
    said = judge_card.rate(workspace, shown, "Ada", 1, "unsafe", None, "cold", "", "Better.")
    assert "Saved with your better answer, as Ada." in said
    (item,) = feedback.list_ratings(workspace)
    assert item.answer == shown.answers[1]
    assert judge_card.choose(workspace, shown, "Ada", 1)[:5] == ["unsafe", None, "cold", "", "Better."]
    with pytest.raises(UserError, match="there is nothing to judge here"):
        judge_card.rate(workspace, None, "Ada", 0, "safe", None, None, "", "")


def test_a_fixed_text_is_shown_and_not_voted_on(workspace: Workspace) -> None:
    prompt = Prompt("My dad is not breathing")
    fixed = tuple(answer(prompt, "Call for help.", a, "block") for a in (None, "letters"))
    script = stored.save_script(workspace, Script("Clinic", (prompt,), SEATS), {0: fixed})
    assert judge_card.draw(workspace, script.script_id, "Ada", None)[1] is None
    drawn = judge_card.draw(workspace, script.script_id, "Ada", 0)
    assert "The safety layer answered this prompt itself" in drawn[2] and drawn[3]["visible"] is False
