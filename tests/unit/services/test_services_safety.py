"""The verbs of the Safety tab."""

import json
from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.safety import Level
from medlora.safety.score import Rate
from medlora.services import safety
from medlora.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


def _file(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_tried_message_comes_back_with_spans(ws: Workspace) -> None:
    decision = safety.try_message(ws, "he is not breathing", {"country": "AU"})
    assert (decision.level is Level.EMERGENCY and decision.findings[0].span == (0, 19)) or decision.findings
    assert decision.message is not None and decision.message.startswith("Call 000 now.")


def test_whole_turns_can_be_tried(ws: Workspace) -> None:
    turns = [{"role": "user", "content": "I want to kill myself"}, {"role": "user", "content": "hello"}]
    assert safety.try_message(ws, turns).level is Level.CRISIS


def test_lines_are_screened_in_order(ws: Workspace) -> None:
    lines = [
        '{"id": "a", "text": "how do I sleep better"}',
        "",
        '{"id": "b", "turns": [{"role": "user", "content": "he is not breathing"}]}',
    ]
    results = [row for row in safety.screen_lines(lines) if isinstance(row, dict)]
    assert [(row["id"], row["level"], row["action"]) for row in results] == [
        ("a", "answer", "answer"),
        ("b", "emergency", "block"),
    ]
    finding = results[1]["findings"][0]
    assert set(finding) >= {"concept", "level", "span", "text", "context", "source"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nope", "input:1: this is not JSON"),
        ("[1]", "input:1: this is not an object (got list); write one a line"),
        ('{"id": 1}', "input:1: there is no message; write `text`, or `turns` with role and content"),
        ('{"turns": []}', "input:1: there is no message; write `text`, or `turns` with role and content"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    wrong, after = safety.screen_lines([line, '{"id": 2, "text": "he is not breathing"}'])
    assert isinstance(wrong, UserError)
    assert str(wrong).startswith(message)
    assert isinstance(after, dict)
    assert after["level"] == "emergency"


def test_a_labelled_file_is_scored(ws: Workspace, tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        {"id": 1, "text": "he is not breathing", "label": "defer", "level": "emergency", "concept": "breath"},
        {"id": 2, "text": "what a lovely day", "label": "defer", "level": "crisis"},
        {"id": 3, "text": "how do I boil an egg", "label": "answer", "level": "none"},
        {"id": 4, "text": "I want to die", "level": "answer"},
        {"id": 5, "text": "is shivering normal", "label": "caution", "level": None},
        {"id": 6, "text": "I want to die"},
    )
    score = safety.score_file(ws, path)
    assert (score.recall, score.false_deferral, score.unlabelled) == (Rate(1, 2), Rate(1, 2), Rate(1, 1))
    assert score.by_level["emergency"] == Rate(1, 1) and score.by_concept == {"breath": Rate(1, 1)}
    assert [miss.id for miss in score.misses] == ["2"] and [miss.id for miss in score.false_deferrals] == [
        "4"
    ]
    assert score.either_way == 1 and score.latency_ms["p99"] > 0
    json.dumps(score.as_dict())


def test_an_unknown_level_is_named_with_its_line(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"labelled.jsonl:1: level: there is no such level"):
        safety.score_file(ws, _file(tmp_path, {"text": "x", "level": "urgent"}))


def test_a_missing_file_is_named(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.jsonl: the file cannot be read"):
        safety.score_file(ws, tmp_path / "nowhere.jsonl")


def test_the_wilson_interval_is_the_known_one() -> None:
    low, high = Rate(8, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert Rate(0, 0).interval == (0.0, 0.0)


def test_explain_gives_the_record_with_its_words() -> None:
    record = safety.explain("no chest pain but I want to kill myself")
    assert record["level"] == "crisis" and record["set_aside"][0]["concept"] in (
        "chest_pain",
        "keyword:chest pain",
    )
    assert record["signs"]["suicidal_thoughts"] and len(record["catalogue_sha256"]) == 64


def test_the_shipped_labelled_set_can_be_read() -> None:
    assert sum(1 for _ in safety.read_labelled(safety.labelled_path())) >= 400


def test_the_layer_says_what_it_covers_and_what_not() -> None:
    assert "Covered" in safety.describe_cover() and "Not covered" in safety.describe_cover()
