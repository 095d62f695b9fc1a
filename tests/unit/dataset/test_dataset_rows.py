"""Every wrong line is named by its number, a kind and what to do; nothing a patient said is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlora.dataset.check import CheckOptions, CheckReport, check_file
from medlora.dataset.rows import Limits
from medlora.errors import DataError

GOOD = b'{"question": "What is flu?", "answer": "A viral illness."}'


def check(folder: Path, content: bytes, **limits: int) -> CheckReport:
    path = folder / "data.jsonl"
    path.write_bytes(content)
    return check_file(path, CheckOptions(limits=Limits(**limits)))


WRONG_LINES = {
    "latin-1": (
        '{"question": "Was ist Fußpilz?", "answer": "A"}'.encode("latin-1"),
        "not_utf8",
        "not UTF-8: byte 0xDF at position 25 looks like Latin-1 (Windows-1252); save the file as UTF-8",
    ),
    "a missing comma": (
        b'{"question": "Q" "answer": "A"}',
        "invalid_json",
        "not valid JSON at character 18: Expecting ',' delimiter",
    ),
    "single quotes": (
        b"{'question': 'Q', 'answer': 'A'}",
        "invalid_json",
        "not valid JSON at character 2: Expecting property name enclosed in double quotes; "
        "JSON uses double quotes and no comma before a closing brace",
    ),
    "a table": (
        b"What is flu?,A viral illness.",
        "invalid_json",
        "not valid JSON at character 1: Expecting value; a record is one JSON object in braces on one line",
    ),
    "two records": (
        GOOD + GOOD,
        "invalid_json",
        "not valid JSON at character 59: Extra data; one line holds one record",
    ),
    "an array": (
        b"[" + GOOD + b"]",
        "json_array",
        "a JSON array; write one object per line, without the brackets and commas around them",
    ),
    "a text": (b'"flu"', "not_object", "must be a JSON object in braces (got text)"),
    "NaN": (
        b'{"question": "Q", "answer": "A", "score": NaN}',
        "not_finite",
        "NaN is not JSON; use a number or null",
    ),
    "infinity": (
        b'{"question": "Q", "answer": "A", "score": -Infinity}',
        "not_finite",
        "-Infinity is not JSON; use a number or null",
    ),
    "a huge number": (
        b'{"question": "Q", "answer": "A", "id": 123456789012345678901234567890}',
        "huge_number",
        "a whole number of 30 digits; put it in quotes",
    ),
    "a number beyond all floats": (
        b'{"question": "Q", "answer": "A", "id": 1e999}',
        "huge_number",
        "a number too large for any computer; put it in quotes",
    ),
    "a field twice": (
        b'{"question": "Q", "answer": "A", "answer": "B"}',
        "duplicate_key",
        "answer: the field stands twice in one object; keep one",
    ),
    "half a character": (
        b'{"question": "Q", "answer": "A\\ud83d"}',
        "lone_surrogate",
        "answer: holds half a character (lone surrogate U+D83D) at position 2; "
        "export the text again as UTF-8",
    ),
    "NUL": (
        b'{"question": "Q\\u0000", "answer": "A"}',
        "control_character",
        "question: holds the NUL character U+0000 at position 2; remove it",
    ),
    "a control character": (
        b'{"question": "Q", "answer": "A\\u001b[31m"}',
        "control_character",
        "answer: holds the control character U+001B at position 2; remove it",
    ),
    "a raw control character": (
        b'{"question": "Q", "answer": "A\x01"}',
        "control_character",
        "not valid JSON at character 31: a raw control character in a text; write \\n or \\t",
    ),
    "a thousand brackets": (
        b'{"question": "Q", "answer": "A", "x": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        "too_deep",
        "nested more than 32 levels deep; a record is flat",
    ),
    "no known shape": (
        b'{"text": "Q", "label": "A"}',
        "unknown_shape",
        "the fields text, label are no shape that is known; known: instruction/response, "
        "instruction/input/output, prompt/completion, question/answer, messages, conversations",
    ),
    "no answer": (
        b'{"question": "Q", "topic": "T"}',
        "missing_answer",
        "question: has no answer beside it (fields: question, topic); "
        "add one of response, output, completion, answer",
    ),
    "no question": (
        b'{"answer": "A"}',
        "missing_question",
        "answer: has no question beside it (fields: answer); add one of instruction, prompt, question",
    ),
    "an empty answer": (
        b'{"question": "Q", "answer": " \\n "}',
        "empty_answer",
        "answer: the answer is empty; write one or remove the line",
    ),
    "null for an answer": (
        b'{"question": "Q", "answer": null}',
        "empty_answer",
        "answer: the answer is missing (got null); write one or remove the line",
    ),
    "an empty question": (
        b'{"instruction": "", "output": "A"}',
        "empty_question",
        "instruction: the question is empty; write one or remove the line",
    ),
    "a number for an answer": (
        b'{"question": "Q", "answer": 5}',
        "not_text",
        "answer: must be text (got a number); put it in quotes",
    ),
    "an unknown role": (
        b'{"messages": [{"role": "nurse", "content": "Q"}]}',
        "wrong_role",
        "messages[0].role: the role must be system, user or assistant (got 'nurse')",
    ),
    "two questions in a row": (
        b'{"messages": [{"role": "user", "content": "Q"}, {"role": "user", "content": "Q"}]}',
        "wrong_order",
        "messages: turn 2 must be assistant (got user); after an optional system turn, "
        "user and assistant take turns",
    ),
    "an answer first": (
        b'{"messages": [{"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}]}',
        "wrong_order",
        "messages: turn 2 must be user (got assistant); after an optional system turn, "
        "user and assistant take turns",
    ),
    "a question last": (
        b'{"conversations": [{"from": "human", "value": "Q"}]}',
        "wrong_order",
        "conversations: the last turn must be assistant; nothing can be learned from a question",
    ),
    "a turn without content": (
        b'{"messages": [{"role": "user"}]}',
        "wrong_turn",
        "messages[0]: a turn needs role and content, or from and value (got role)",
    ),
    "messages that are no list": (
        b'{"messages": "Q"}',
        "not_text",
        "messages: must be a list of turns (got text)",
    ),
}


@pytest.mark.parametrize("name", WRONG_LINES)
def test_a_bad_line_is_reported_with_its_number_and_the_rest_is_kept(tmp_path: Path, name: str) -> None:
    line, kind, message = WRONG_LINES[name]

    report = check(tmp_path, GOOD + b"\n\n" + line + b"\n" + GOOD + b"\n")

    assert [(p.line, p.kind, p.message) for p in report.problems] == [(3, kind, message)]
    assert (report.rows, report.valid) == (3, 2)


def test_a_mark_at_the_start_windows_line_ends_and_blank_lines_are_fine(tmp_path: Path) -> None:
    report = check(tmp_path, b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \n" + GOOD.replace(b"flu", b"a cold"))

    assert (report.rows, report.valid, report.problems) == (2, 2, [])


def test_a_separator_that_is_no_line_end_does_not_shift_the_numbers(tmp_path: Path) -> None:
    odd = '{"question": "One\u2028two\u0085three", "answer": "A"}'.encode()

    report = check(tmp_path, odd + b"\nnot json\n")

    assert [problem.line for problem in report.problems] == [2]


def test_a_torn_last_line_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    report = check(tmp_path, GOOD + b"\n" + GOOD[:-10])

    assert [str(problem) for problem in report.problems] == [
        "line 2: the file ends in the middle of a record (character 47); export it again or remove the line"
    ]
    assert report.problems[0].kind == "torn_line"


def test_a_line_longer_than_the_cap_is_passed_over(tmp_path: Path) -> None:
    long = b'{"question": "Q", "answer": "' + b"a" * 300 + b'"}'

    report = check(tmp_path, long + b"\n" + GOOD + b"\n" + long, max_line_bytes=100)

    assert [str(problem) for problem in report.problems] == [
        "line 1: the line is 332 bytes long (at most 100); one record is one question and its answer",
        "line 3: the line is 331 bytes long (at most 100); one record is one question and its answer",
    ]
    assert report.valid == 1


def test_a_file_with_too_many_rows_is_read_up_to_the_cap(tmp_path: Path) -> None:
    rows = b"\n".join(GOOD.replace(b"flu", b"%d" % number) for number in range(9))

    report = check(tmp_path, rows, max_rows=5)

    assert str(report.problems[0]) == (
        "line 6: the file has more than 5 rows; what follows was not read; split the file"
    )
    assert report.valid == 5


WHOLE_FILES = {
    "UTF-16": ((GOOD + b"\n").decode().encode("utf-16"), "the file is UTF-16 text; save it as UTF-8"),
    "UTF-16 without a mark": (GOOD.decode().encode("utf-16-le"), "the file is UTF-16 text; save it as UTF-8"),
    "a workbook": (
        b"PK\x03\x04\x14\x00",
        "the file is a zip archive or an Excel workbook; unpack it, or export it as JSON lines",
    ),
    "an array over lines": (
        b"[\n" + GOOD + b",\n" + GOOD + b"\n]\n",
        "the file is one JSON array over several lines; write one object per line",
    ),
    "an object over lines": (
        json.dumps(json.loads(GOOD), indent=2).encode(),
        "the file is JSON spread over several lines; write each object on one line",
    ),
    "nothing": (b"", "the file has no rows; write one JSON object per line"),
    "blank lines": (b"\n\n \n", "the file has no rows; write one JSON object per line"),
}


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_of_another_kind_has_one_problem_in_words(tmp_path: Path, name: str) -> None:
    content, message = WHOLE_FILES[name]

    report = check(tmp_path, content)

    assert [(problem.line, problem.message) for problem in report.problems] == [(1, message)]
    assert (report.valid, report.shape, report.tokens) == (0, None, None)


def test_messages_never_hold_what_a_record_says(tmp_path: Path) -> None:
    secret = "Erika Mustermann has HIV"
    lines = [
        {secret: "x"},
        {"question": secret},
        {"messages": [{"role": secret, "content": "x"}]},
        {"messages": [{secret: "user"}]},
        {"question": secret + "\u0000", "answer": secret},
        [secret],
        secret,
        {"question": {secret: secret}, "answer": [secret]},
    ]
    broken = [json.dumps({"question": secret})[:-3], f"{{{secret!r}: 1}}"]

    report = check(tmp_path, "\n".join([*map(json.dumps, lines), *broken]).encode())

    assert len(report.problems) == 10
    assert not [problem.message for problem in report.problems if "Erika" in problem.message]


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^gone.jsonl: there is no such file; choose a JSONL file$"):
        check_file(tmp_path / "gone.jsonl", CheckOptions())
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"^folder: is a folder; choose a JSONL file$"):
        check_file(tmp_path / "folder", CheckOptions())
