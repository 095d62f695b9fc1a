"""Ratings and votes as the page and the command line use them."""

from __future__ import annotations

import json
import logging
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlora.cli.root import cli
from medlora.errors import DataError, NotFoundError, UserError
from medlora.feedback.records import Answer, Rating, Verdict, Vote
from medlora.services import data, feedback, feedback_data
from medlora.services.chat import ChatSettings, ChatUpdate
from medlora.services.feedback import Selection
from medlora.services.feedback_data import LearningOptions
from medlora.workspace import Workspace
from tests.tiny_models import write_tiny_dataset

QUESTION = "What does an HbA1c of 6.8 % mean?"
BETTER = "It is a little above the usual target; talk about it at your next visit."
WEIGHTS = "abcdef123456"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("MEDLORA_HOME", str(tmp_path / "home"))
    return Workspace.open()


def make_answer(text: str = "It is fine.", adapter: str | None = "letters", **values: Any) -> Answer:
    turns = values.pop("turns", ({"role": "user", "content": QUESTION},))
    weights = values.pop("weights", WEIGHTS if adapter else "bbbbbbbbbbbb")
    return Answer(turns, text, "starter", adapter, weights, **values)


def rate(ws: Workspace, answer: Answer, rater: str = "Ada", **said: Any) -> Rating:
    return feedback.rate_answer(ws, answer, Rating(answer.answer_id, rater, **said))


def vote(ws: Workspace, verdict: Verdict, left: Answer, right: Answer) -> Vote:
    return feedback.vote(ws, Vote("Ada", verdict, left, right))


def publish(ws: Workspace, name: str, digest: str) -> None:
    folder = ws.adapter(name)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text('{"r": 4}', encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps({"weights_sha256": digest}), encoding="utf-8")


def run(*words: str) -> Any:
    """The one JSON document that a command prints."""
    done = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# Say
def test_an_answer_is_described_with_all_that_made_it() -> None:
    settings = ChatSettings("letters", "starter", "Be kind.", safety={"strict": True})
    update = ChatUpdate(
        text="It is fine.",
        level="caution",
        action="annotate",
        weights=WEIGHTS,
        base_model="starter",
        truncated=True,
    )
    answer = feedback.describe_answer([{"role": "user", "content": QUESTION}], update, settings)
    assert (answer.question, answer.text, answer.label) == (QUESTION, "It is fine.", f"letters · {WEIGHTS}")
    assert (answer.level, answer.action, answer.system_prompt, answer.whole) == (
        "caution", "annotate", "Be kind.", False,
    )  # fmt: skip
    assert answer.settings["safety"] == {"strict": True} and answer.settings["inference"]["seed"] is not None
    assert answer.catalogue


def test_the_rater_is_asked_once(ws: Workspace) -> None:
    assert feedback.read_rater(ws) == ""
    with pytest.raises(UserError, match=r"^rating: your name: it is missing; write a name or initials"):
        rate(ws, make_answer(), " \n", safety="safe")
    assert rate(ws, make_answer(), " Dr.  Ada\u202e Lovelace ", safety="safe").rater == "Dr. Ada Lovelace"
    assert feedback.read_rater(ws) == "Dr. Ada Lovelace"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "rating: nothing was said yet; choose at least one mark, or write a better answer"),
        (
            {"correction": " It is fine. "},
            "rating: nothing was said yet; choose at least one mark, or write a better answer",
        ),
        ({"safety": "maybe"}, "rating: safety: must be one of safe, unsafe (got 'maybe')"),
        (
            {"comment": "x" * 16_001},
            "rating: comment: it is too long (got 16001 characters, at most 16000); shorten it",
        ),
    ],
)
def test_a_rating_that_says_nothing_or_nonsense_is_refused(
    ws: Workspace, said: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        rate(ws, make_answer(), **said)
    assert str(refused.value) == message
    assert feedback.list_ratings(ws) == []


def test_votes_are_on_two_answers_to_one_question(ws: Workspace) -> None:
    other = make_answer(turns=({"role": "user", "content": "Something else?"},))
    with pytest.raises(UserError, match="the two answers are to different questions"):
        vote(ws, "left", make_answer(), other)
    with pytest.raises(UserError, match=r"^vote: it must be one of left, right, tie, both_bad \(got 'up'\)"):
        vote(ws, "up", make_answer(), make_answer())  # type: ignore[arg-type]


def test_nothing_that_was_said_is_logged(ws: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        rate(ws, make_answer("a CANARY"), comment="CANARY", correction="CANARY CANARY")
        feedback_data.add_to_dataset(ws, LearningOptions(phi="rights"))
    assert "CANARY" not in caplog.text


# Sum up
def test_a_summary_counts_the_present_weights_alone(ws: Workspace) -> None:
    publish(ws, "letters", WEIGHTS + "0" * 52)
    rate(ws, make_answer(), safety="safe", correctness="incomplete", tone="wordy", correction=BETTER)
    rate(ws, make_answer(), "Ben", safety="unsafe", comment="No.")
    rate(ws, make_answer(weights="999999999999"), safety="unsafe")
    rate(ws, make_answer(adapter=None), safety="unsafe")
    vote(ws, "left", make_answer(), make_answer(adapter=None))
    vote(ws, "left", make_answer(weights="999999999999"), make_answer(adapter=None))
    found = feedback.summarise_feedback(ws, "letters")
    assert (found.ratings, found.raters, found.corrections, found.comments) == (2, ("Ada", "Ben"), 1, 1)
    assert found.safety == {"safe": 1, "unsafe": 1}
    assert found.correctness == {"correct": 0, "incomplete": 1, "incorrect": 0}
    assert (found.votes, found.standings[0].wins, found.other_weights) == (1, 1, 2)
    assert found.standings[0].rival == "starter (base model)"


def test_an_adapter_that_nobody_rated_has_an_empty_summary(ws: Workspace) -> None:
    found = feedback.summarise_feedback(ws, "unheard-of")
    assert (found.ratings, found.votes, found.standings, found.last_changed) == (0, 0, (), None)
    assert found.safety == {"safe": 0, "unsafe": 0}


# Learn
def test_a_correction_becomes_a_row_that_names_its_rating_and_not_the_rater(ws: Workspace) -> None:
    rating = rate(ws, make_answer(), correction=BETTER)
    rate(ws, make_answer("Not rated better."), safety="unsafe")
    (row,) = feedback_data.harvest_corrections(ws).rows
    assert row["messages"] == [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": BETTER},
    ]
    origin = {"adapter": "letters", "base_model": "starter", "weights": WEIGHTS}
    assert row["feedback"] == {"rating": rating.rating_id, **origin}
    assert "Ada" not in json.dumps(row)


def test_an_earlier_answer_is_learnt_as_it_was_corrected(ws: Workspace) -> None:
    first = make_answer("Wrong.")
    turns = (
        *first.turns,
        {"role": "assistant", "content": "Wrong."},
        {"role": "user", "content": "And now?"},
    )
    rate(ws, first, correction=BETTER)
    rate(ws, make_answer("Also wrong.", turns=turns), correction="Then ask your nurse.")
    longest = max(feedback_data.harvest_corrections(ws).rows, key=lambda row: len(row["messages"]))
    assert [turn["content"] for turn in longest["messages"]] == [
        QUESTION, BETTER, "And now?", "Then ask your nurse.",
    ]  # fmt: skip


def test_of_two_corrections_the_later_counts_and_fixed_texts_teach_nothing(ws: Workspace) -> None:
    answer = make_answer()
    rate(ws, answer, "Ada", correction="First.")
    rate(ws, answer, "Ben", correction="Second.")
    rate(ws, make_answer("Call for help.", weights=None, action="block", level="emergency"), correction="No.")
    found = feedback_data.harvest_corrections(ws)
    assert [row["messages"][-1]["content"] for row in found.rows] == ["Second."]
    assert sorted(found.notices) == [
        "1 left out: another rating of the same answer came later",
        "1 left out: no model was asked: the safety layer answers such messages itself",
    ]


def test_approved_answers_count_as_they_are_only_when_asked_for(ws: Workspace) -> None:
    rate(ws, make_answer("Good."), safety="safe", correctness="correct")
    rate(ws, make_answer("Cut", whole=False), safety="safe", correctness="correct")
    rate(ws, make_answer("Half."), safety="safe", correctness="incomplete")
    assert feedback_data.harvest_corrections(ws).rows == ()
    (row,) = feedback_data.harvest_corrections(ws, approved=True).rows
    assert row["messages"][-1]["content"] == "Good."


def test_preferences_come_from_corrections_and_from_votes_that_chose(ws: Workspace) -> None:
    rate(ws, make_answer("Rather bad."), correction=BETTER)
    good, bad = make_answer("Good."), make_answer("Bad.", None)
    cast = vote(ws, "right", bad, good)
    vote(ws, "tie", make_answer("x"), make_answer("y", None))
    unsafe = make_answer("Sounds good.")
    rate(ws, unsafe, safety="unsafe")
    vote(ws, "left", unsafe, make_answer("z", None))
    vote(ws, "left", make_answer("cut", whole=False), make_answer("z", None))
    vote(ws, "left", make_answer("fixed", action="block"), make_answer("z", None))
    found = feedback_data.harvest_preferences(ws)
    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in found.rows]
    assert pairs == [(BETTER, "Rather bad."), ("Good.", "Bad.")]
    assert found.rows[1]["feedback"]["vote"] == cast.vote_id and found.rows[1]["feedback"]["blinded"]
    assert found.rows[0]["prompt"] == [{"role": "user", "content": QUESTION}]
    assert sum(found.left_out.values()) == 4


def test_corrections_become_a_dataset_that_names_its_ratings(ws: Workspace, tmp_path: Path) -> None:
    rating = rate(ws, make_answer(), correction=BETTER)
    card, found = feedback_data.add_to_dataset(ws, LearningOptions(name="corrections"))
    assert (card.name, card.rows, card.usable, card.phi_rows, len(found.rows)) == ("corrections", 1, 1, 0, 1)
    stored = data.source_of(ws, card.name).read_text(encoding="utf-8")
    assert rating.rating_id in stored
    assert list(ws.uploads.glob("feedback-*")) == [], "what was staged is gone"


def test_corrections_go_onto_a_dataset_whose_rows_stay(ws: Workspace, tmp_path: Path) -> None:
    before = data.add_dataset(ws, write_tiny_dataset(tmp_path / "clinic.jsonl", rows=6))
    data.source_of(ws, before.name).write_bytes(data.source_of(ws, before.name).read_bytes().rstrip(b"\n"))
    rate(ws, make_answer(), correction=BETTER)
    card, _ = feedback_data.add_to_dataset(ws, LearningOptions(onto=before.name))
    assert (card.name, card.rows, card.usable) == ("clinic-corrected", 7, 7)
    assert data.show_dataset(ws, before.name) == before
    with pytest.raises(NotFoundError):
        feedback_data.add_to_dataset(ws, LearningOptions(onto="nowhere"))


def test_personal_data_in_a_correction_is_found_and_waits_for_a_decision(ws: Workspace) -> None:
    rate(ws, make_answer(), correction="Call Mr. John Smith, MRN 12345678, and ask for his next visit.")
    open_card, _ = feedback_data.add_to_dataset(ws)
    assert (open_card.phi_rows, open_card.phi_settled) == (1, False)
    redacted, _ = feedback_data.add_to_dataset(ws, LearningOptions(phi="redact"))
    stored = data.source_of(ws, redacted.name).read_text(encoding="utf-8")
    assert "12345678" not in stored and "Smith" not in stored and "rating-" in stored


def test_ids_and_hashes_of_the_origin_never_look_like_personal_data(ws: Workspace) -> None:
    for number in range(100):
        digest = f"{number:02d}{7 * number:04d}123456"
        rate(
            ws, make_answer(f"Answer {number} is not good.", weights=digest), correction=f"{BETTER} {number}"
        )
    card, _ = feedback_data.add_to_dataset(ws)
    assert (card.rows, card.phi_rows) == (100, 0)


def test_without_a_correction_there_is_no_dataset_but_a_reason(ws: Workspace) -> None:
    with pytest.raises(UserError) as refused:
        feedback_data.add_to_dataset(ws)
    assert str(refused.value) == (
        "feedback: there are no corrections to use yet; rate an answer in the chat and write it as it should "
        "have been"
    )
    rate(ws, make_answer(), correction="\x00 broken")
    with pytest.raises(DataError):
        feedback_data.add_to_dataset(ws)


# The command line
def test_the_command_line_lists_sums_up_exports_adds_and_deletes(ws: Workspace, tmp_path: Path) -> None:
    rating = rate(ws, make_answer(), safety="unsafe", correction=BETTER)
    vote(ws, "left", make_answer("a"), make_answer("b", None))
    listed = run("feedback", "list")
    assert [(item["rating_id"], item["answer"]["label"]) for item in listed] == [
        (rating.rating_id, f"letters · {WEIGHTS}")
    ]
    assert run("feedback", "summary", "letters")["corrections"] == 1
    votes = run("feedback", "votes")
    assert votes["standings"][0] | {"wins": 1, "enough": False} == votes["standings"][0]
    assert votes["votes"][0]["winner"] == f"letters · {WEIGHTS}"
    target = tmp_path / "preferences.jsonl"
    assert run("feedback", "export", "preferences", "--to", str(target))["rows"] == 2
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0
    assert run("feedback", "add", "--name", "better")["dataset"]["name"] == "better"
    assert run("feedback", "delete", rating.rating_id, "--yes") == {"deleted": 1}
    assert run("feedback", "delete", "--all", "--yes") == {"deleted": 1}
    assert run("feedback", "list") == []


def test_plain_output_says_the_same_in_words(ws: Workspace, tmp_path: Path) -> None:
    rate(ws, make_answer(), safety="unsafe", correction=BETTER)
    vote(ws, "tie", make_answer("a"), make_answer("b", None))
    runner = CliRunner()
    said = [
        runner.invoke(cli, ["feedback", *words], catch_exceptions=False).output
        for words in (["list"], ["summary", "letters"], ["votes"], ["add"])
    ]
    assert "unsafe" in said[0]
    assert said[1].startswith("letters: ratings 1, corrections 1, by Ada\n  safe 0, unsafe 1\n")
    assert said[2] == (
        "letters against starter (base model): 0 : 0, ties 1, both bad 0; not enough votes yet: 20 more that "
        "choose a side\n"
    )
    assert said[3] == "corrections: 1 of 1 rows, 1 of them corrections\n"


def test_an_export_never_writes_over_a_file(ws: Workspace, tmp_path: Path) -> None:
    rate(ws, make_answer(), correction=BETTER)
    target = tmp_path / "mine.jsonl"
    target.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="the file exists"):
        feedback_data.export_feedback(ws, "corrections", target)
    assert target.read_text(encoding="utf-8") == "mine"


def test_a_selection_narrows_by_adapter_person_and_day(ws: Workspace) -> None:
    rate(ws, make_answer(), "Ada", safety="safe")
    rate(ws, make_answer(adapter=None), "Ben", safety="safe")
    assert [item.rating.rater for item in feedback.list_ratings(ws, Selection(adapter="letters"))] == ["Ada"]
    assert [item.rating.rater for item in feedback.list_ratings(ws, Selection(adapter=""))] == ["Ben"]
    assert [item.rating.rater for item in feedback.list_ratings(ws, Selection(rater="Ben"))] == ["Ben"]
    assert feedback.list_ratings(ws, Selection(since="2999-01-01")) == []


def test_nothing_unknown_can_be_deleted(ws: Workspace) -> None:
    with pytest.raises(NotFoundError, match=r"there is no rating or vote of this id \(got 'rating-x'\)"):
        feedback.delete_records(ws, ["rating-x"])
    assert feedback.delete_all(ws) == 0
    kept = rate(ws, make_answer(), safety="safe")
    assert feedback.delete_all(ws, Selection(rater="Nobody")) == 0
    assert replace(feedback.list_ratings(ws)[0].rating) == kept
