"""The shapes people have are recognised without asking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medlora.dataset.check import CheckOptions, check_file
from medlora.dataset.shapes import Turn, recognise, with_system_prompt

Q_AND_A = (Turn("user", "Q"), Turn("assistant", "A"))
SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "instruction and response": ({"instruction": "Q", "response": "A"}, "instruction/response"),
    "prompt and completion": ({"prompt": "Q", "completion": "A"}, "prompt/completion"),
    "question and answer": ({"question": "Q", "answer": "A"}, "question/answer"),
    "a pairing of its own": ({"question": "Q", "response": "A"}, "question/response"),
    "names in capitals": ({"Question": "Q", " Answer": "A"}, "question/answer"),
    "Alpaca without input": ({"instruction": "Q", "input": "", "output": "A"}, "instruction/input/output"),
    "messages": (
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        "messages",
    ),
    "messages in parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Q"}]},
                {"role": "assistant", "content": "A"},
            ]
        },
        "messages",
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        "conversations",
    ),
    "a prompt and completion of turns": (
        {
            "prompt": [{"role": "user", "content": "Q"}],
            "completion": [{"role": "assistant", "content": "A"}],
        },
        "prompt/completion",
    ),
    "extra fields": (
        {"question": "Q", "answer": "A", "source_urls": ["u"], "score": 0.5, "text": "ignored"},
        "question/answer",
    ),
    "white space around": ({"question": " Q\n", "answer": "\tA "}, "question/answer"),
    "an empty system turn": (
        {
            "messages": [
                {"role": "system", "content": ""},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ]
        },
        "messages",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_recognised(name: str) -> None:
    obj, shape = SHAPES[name]

    found, record = recognise(obj, 7)

    assert (found, record.messages, record.line) == (shape, Q_AND_A, 7)


def test_the_input_of_an_alpaca_record_follows_its_instruction() -> None:
    _, record = recognise({"instruction": "Explain.", "input": "Asthma", "output": "A"})

    assert record.messages[0] == Turn("user", "Explain.\n\nAsthma")


def test_a_conversation_keeps_its_system_turn_and_all_its_turns() -> None:
    said = [("system", "S"), ("human", "Q1"), ("gpt", "A1"), ("human", "Q2"), ("gpt", "A2")]

    _, record = recognise({"conversations": [{"from": who, "value": text} for who, text in said]})

    assert [turn.content for turn in record.messages] == ["S", "Q1", "A1", "Q2", "A2"]
    assert [turn.role for turn in record.messages] == ["system", "user", "assistant", "user", "assistant"]


def test_a_system_field_beside_a_question_is_the_system_prompt() -> None:
    _, record = recognise({"system": "Be kind.", "question": "Q", "answer": "A"})

    assert record.messages == (Turn("system", "Be kind."), *Q_AND_A)


def test_a_records_own_system_turn_wins_over_the_configs() -> None:
    own = (Turn("system", "Own"), *Q_AND_A)

    assert with_system_prompt(own, "Config") == own
    assert with_system_prompt(Q_AND_A, "Config") == (Turn("system", "Config"), *Q_AND_A)
    assert with_system_prompt(Q_AND_A, "") == Q_AND_A


def test_rows_of_several_shapes_are_all_used_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    rows = [{"question": f"Q{n}", "answer": "A"} for n in range(2)] + [{"prompt": "Q", "completion": "A"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    report = check_file(path, CheckOptions())

    assert (report.shape, report.valid) == ("mixed", 3)
    assert report.notices[0] == (
        "The rows have several shapes: question/answer (2), prompt/completion (1). All of them are used."
    )
