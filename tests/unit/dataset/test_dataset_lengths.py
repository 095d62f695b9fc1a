"""Lengths are tokens; what the settings leave out is listed, and needs no consent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlora.dataset.check import CheckOptions, CheckReport, check_file
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.records import load_records, write_rejects
from medlora.dataset.render import ChatTokenizer
from medlora.errors import DataError
from tests.tiny_models import make_tiny_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChatTokenizer:
    make_tiny_tokenizer(tmp_path / "model", "llama")
    return ChatTokenizer.load(tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Answers of 1, 20 and 200 words, then a line that is wrong."""
    rows = [{"question": "Why?", "answer": " ".join(["so"] * words)} for words in (1, 20, 200)]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "{}", ""]), encoding="utf-8")
    return path


def check(path: Path, tokenizer: ChatTokenizer | None, **settings: object) -> CheckReport:
    return check_file(path, CheckOptions(LengthSettings(**settings)), tokenizer)  # type: ignore[arg-type]


def own_tokens(tokenizer: ChatTokenizer, words: int) -> int:
    return tokenizer.count("Why?") + tokenizer.count(" ".join(["so"] * words))


def test_length_limits_count_the_tokens_of_the_records_own_texts(
    data: Path, tokenizer: ChatTokenizer
) -> None:
    report = check(data, tokenizer, min_length=10, max_length=100, system_prompt="Be kind. " * 50)

    short, long = own_tokens(tokenizer, 1), own_tokens(tokenizer, 200)
    assert [str(problem) for problem in report.filtered] == [
        f"line 1: {short} tokens, fewer than data.min_length 10",
        f"line 3: {long} tokens, more than data.max_length 100",
    ]
    assert [problem.line for problem in report.errors] == [4]
    assert (report.rows, report.valid) == (4, 1)


def test_truncation_is_counted_before_training(data: Path, tokenizer: ChatTokenizer) -> None:
    report = check(data, tokenizer, max_seq_length=100)

    assert report.tokens is not None
    assert (report.valid, report.tokens.truncated, report.tokens.estimated) == (3, 1, False)
    assert sum(count for _, _, count in report.tokens.histogram) == 3
    assert report.tokens.p50 < report.tokens.p95 == report.tokens.max


def test_without_truncation_long_rows_are_left_out_and_listed(data: Path, tokenizer: ChatTokenizer) -> None:
    report = check(data, tokenizer, max_seq_length=100, truncation=False)

    assert [(problem.line, problem.kind) for problem in report.filtered] == [(3, "too_long")]
    assert report.filtered[0].message.endswith(
        "tokens with the chat template, more than data.max_seq_length 100, and data.truncation is false"
    )


def test_a_row_with_nothing_left_to_learn_is_left_out_and_listed(
    data: Path, tokenizer: ChatTokenizer
) -> None:
    report = check(data, tokenizer, max_seq_length=30, system_prompt="word " * 60)

    assert [(problem.line, problem.kind) for problem in report.filtered][:3] == [
        (1, "nothing_to_learn"),
        (2, "nothing_to_learn"),
        (3, "nothing_to_learn"),
    ]
    assert [problem.kind for problem in report.errors] == ["unknown_shape"]


def test_without_a_model_lengths_are_estimated_and_it_is_said(data: Path) -> None:
    report = check(data, None, min_length=10)

    assert report.tokens is not None and report.tokens.estimated
    assert report.notices == [
        "The model is not at hand yet, so token counts are estimated from the number of words."
    ]
    assert [problem.line for problem in report.filtered] == [1]


def test_bad_rows_are_left_out_only_with_consent(data: Path, tokenizer: ChatTokenizer) -> None:
    with pytest.raises(DataError) as caught:
        load_records(data, LengthSettings(), tokenizer)

    assert str(caught.value) == (
        "data.jsonl: 1 of 4 rows cannot be used (line 4: the fields none are no shape that is known; known: "
        "instruction/response, instruction/input/output, prompt/completion, question/answer, messages, "
        "conversations); mend them, or agree to leave them out (on the command line: --skip-bad-rows)"
    )
    loaded = load_records(data, LengthSettings(min_length=10), tokenizer, skip_bad_rows=True)
    assert [record.line for record in loaded.records] == [2, 3]
    assert [problem.line for problem in loaded.problems] == [1, 4]


def test_rejects_name_their_line_and_reason_and_hold_the_original(
    data: Path, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    target = tmp_path / "rejects.jsonl"

    assert write_rejects(data, target, LengthSettings(min_length=10), tokenizer) == 2

    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [(row["line"], row["kind"]) for row in rows] == [(1, "too_short"), (4, "unknown_shape")]
    assert json.loads(rows[0]["original"]) == {"question": "Why?", "answer": "so"}


def test_the_sum_is_that_of_the_files_bytes_and_the_check_agrees_with_the_reading(
    data: Path, tokenizer: ChatTokenizer
) -> None:
    import hashlib

    report = check(data, tokenizer)
    loaded = load_records(data, LengthSettings(), tokenizer, skip_bad_rows=True)

    assert report.sha256 == loaded.sha256 == hashlib.sha256(data.read_bytes()).hexdigest()
    assert len(loaded.records) == report.usable
