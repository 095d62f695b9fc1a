"""Other keywords are tried on labelled messages and on traffic before they are written anywhere."""

import json
from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.safety.score import Rate
from medlora.services import configure, data, keyword_trial, labelled
from medlora.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _file(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _pets(tmp_path: Path) -> Path:
    return _file(
        tmp_path,
        {"id": "a", "text": "my zebra itches", "level": "answer"},
        {"id": "b", "text": "good morning", "level": "answer"},
        {"id": "c", "text": "my zebra lost all its stripes", "label": "defer"},
        {"id": "d", "text": "a zebra walks by"},
    )


def test_a_new_keyword_shows_which_messages_it_would_change_and_whether_that_is_wanted(
    ws: Workspace, tmp_path: Path
) -> None:
    result = keyword_trial.what_would_change(
        ws, {}, {"defer_keywords": ["zebra"]}, _pets(tmp_path), traffic=None
    )
    assert [(c.id, c.before, c.after, c.verdict, c.because) for c in result.changes] == [
        ("a", "answer", "defer", "worse", ("zebra",)),
        ("c", "answer", "defer", "better", ("zebra",)),
        ("d", "answer", "defer", "worse", ("zebra",)),
    ]
    assert (result.before.recall, result.after.recall) == (Rate(0, 1), Rate(1, 1))
    assert (result.before.false_deferral, result.after.false_deferral) == (Rate(0, 2), Rate(1, 2))
    assert (result.messages, result.traffic) == (4, None)
    json.dumps(result.as_dict())


def test_a_keyword_that_goes_is_named_as_the_reason(ws: Workspace, tmp_path: Path) -> None:
    result = keyword_trial.what_would_change(
        ws, {"defer_keywords": ["zebra"]}, {"defer_keywords": []}, _pets(tmp_path), traffic=None
    )
    first = result.changes[0]
    assert (first.id, first.after, first.verdict, first.because) == ("a", "answer", "better", ("zebra",))


def test_the_sample_questions_are_traffic_and_so_is_a_dataset(ws: Workspace, tmp_path: Path) -> None:
    settings = Config().safety.model_dump(mode="json")
    after = keyword_trial.with_keywords(settings, (), ["asthma"])
    shipped = keyword_trial.what_would_change(ws, settings, after, _pets(tmp_path)).traffic
    assert shipped is not None and shipped.messages == 286
    before_count, after_count = shipped.deferred
    assert after_count > before_count
    assert any(change.because == ("asthma",) for change in shipped.changes)

    rows = _file(tmp_path, {"question": "How do I feed my zebra?", "answer": "With hay."})
    card = data.add_dataset(ws, rows)
    after = keyword_trial.with_keywords(settings, (), ["zebra"])
    own = keyword_trial.what_would_change(ws, settings, after, _pets(tmp_path), traffic=card.name).traffic
    assert own is not None and (own.messages, own.deferred) == (1, (0, 1))
    with pytest.raises(UserError, match="traffic: the dataset cannot be read"):
        keyword_trial.what_would_change(ws, settings, after, _pets(tmp_path), traffic="absent")


def test_the_users_own_set_is_kept_used_and_forgotten(ws: Workspace, tmp_path: Path) -> None:
    assert labelled.own_labelled(ws) is None
    assert keyword_trial.what_would_change(ws, {}, {}, traffic=None).name == "the shipped labelled set"
    assert labelled.keep_labelled(ws, _pets(tmp_path)) == 4
    result = keyword_trial.what_would_change(ws, {}, {"defer_keywords": ["zebra"]}, traffic=None)
    assert (result.name, result.messages, len(result.changes)) == ("your labelled set", 4, 3)
    labelled.forget_labelled(ws)
    assert labelled.own_labelled(ws) is None
    labelled.forget_labelled(ws)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "mine.jsonl: there is no message in it; write one JSON object a line"),
        (
            [{"text": "x", "label": "urgent"}],
            "mine.jsonl:1: level: there is no such level (got 'urgent'); "
            "use answer, caution, defer, emergency or crisis",
        ),
    ],
)
def test_a_set_that_could_not_be_scored_is_not_kept(
    ws: Workspace, tmp_path: Path, rows: list[object], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        labelled.keep_labelled(ws, _file(tmp_path, *rows))
    assert str(refused.value) == message
    assert labelled.own_labelled(ws) is None


def test_a_level_may_stand_where_a_label_does(tmp_path: Path) -> None:
    ((message, is_labelled),) = labelled.read_labelled(_file(tmp_path, {"text": "x", "label": "crisis"}))
    assert message.expected is not None
    assert (message.expected.label, is_labelled) == ("crisis", True)


def test_keywords_are_read_one_a_line_or_with_commas() -> None:
    assert keyword_trial.read_keywords(" chest pain, severe\n\nsevere\nfaint ") == [
        "chest pain", "severe", "faint",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"keywords: this is no word or phrase \(got '\?\?'\)"):
        keyword_trial.read_keywords("??")
    with pytest.raises(UserError, match="keywords: there are too many"):
        keyword_trial.read_keywords("\n".join(f"word{number}" for number in range(501)))


def test_keywords_are_written_into_the_draft_and_its_comments_stay(ws: Workspace) -> None:
    mine = "# mine\nbase_template: starter\nsafety:\n  strict: true  # why not\n"
    configure.save_draft(ws, mine, "starter")
    text = keyword_trial.write_keywords(ws, ["dosage"], ["zebra bite", "severe"])
    assert "# mine" in text and "strict: true  # why not" in text
    examined = configure.examine(ws, text, "any")
    assert examined.resolved is not None
    safety = examined.resolved.config.safety
    assert (safety.safety_keywords, safety.defer_keywords) == (["dosage"], ["zebra bite", "severe"])
    assert configure.load_draft(ws).text == text
