"""What models say, in many words: each answer of the labelled set is judged as it is labelled."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from medlora.safety import Policy, StreamGuard, assess
from medlora.safety import output as output_module
from medlora.safety.answer_words import read_words
from medlora.safety.beginnings import Beginnings, required_beginnings
from medlora.safety.output import load_output_rules
from medlora.safety.stream import GuardResult

ANSWERS = [
    json.loads(line)
    for line in (Path(output_module.__file__).parent / "labelled" / "answers.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
RULES = sorted({row["rule"] for row in ANSWERS})


def say(text: str, question: str = "", **settings: object) -> tuple[str, GuardResult]:
    policy = Policy.from_settings(settings)
    decision = assess([{"role": "user", "content": question}], policy) if question else None
    guard = StreamGuard(policy, decision)
    shown = guard.feed(text)
    result = guard.finish()
    return shown + result.text, result


@cache
def judge_all(strict: bool) -> dict[str, tuple[str, GuardResult]]:
    return {row["id"]: say(row["text"], row.get("question", ""), strict=strict) for row in ANSWERS}


@pytest.mark.parametrize("rule", RULES)
def test_each_labelled_answer_is_judged_as_labelled(rule: str) -> None:
    judged = judge_all(False)
    wrong = [
        row["text"]
        for row in ANSWERS
        if row["rule"] == rule and judged[row["id"]][1].verdict not in _allowed(row["verdict"])
    ]
    assert wrong == []


def _allowed(verdict: str) -> set[str]:
    """What is labelled with a note may also be withheld by another rule."""
    return {"annotated", "withheld"} if verdict == "annotated" else {verdict}


def test_nothing_that_gets_a_note_goes_out_whole_when_strict() -> None:
    judged = judge_all(True)
    whole = [
        row["text"]
        for row in ANSWERS
        if row["verdict"] == "annotated" and judged[row["id"]][1].verdict != "withheld"
    ]
    assert whole == []


def test_every_note_is_a_note_and_every_stop_has_its_words() -> None:
    for shown, result in judge_all(False).values():
        if result.verdict == "annotated":
            assert result.note and shown
        if result.verdict == "withheld":
            assert result.replacement


def test_the_set_holds_enough_of_each_kind() -> None:
    for rule in RULES:
        kinds = [row["verdict"] == "released" for row in ANSWERS if row["rule"] == rule]
        assert rule == "looping" or (sum(kinds) >= 18 and len(kinds) - sum(kinds) >= 20), rule


def test_a_pattern_is_passed_over_only_where_it_cannot_match() -> None:
    rules = load_output_rules()
    texts = [read_words(row["text"]) for row in ANSWERS]
    for rule in rules.rules:
        for shape in rule.shapes:
            for read in texts:
                begun = rules.beginnings.of(read.words)
                if not all(needed & begun for needed in shape.needs):
                    assert not shape.pattern.search((read.marked if rule.marked else read.plain).text)


@pytest.mark.parametrize(
    ("pattern", "needs"),
    [
        ("stop taking", [{"sto"}, {"tak"}]),
        ("(?:stop|quit) (?:\\w+ ){0,3}?insulin", [{"sto", "qui"}, {"ins"}]),
        ("(?:the )?doses?", [{"dos"}]),
        ("\\d+ ?mg", [{"#"}]),
        ("(?:no|\\w+) way", [{"way"}]),
        ("(?<!not )safe(?! to)", [{"saf"}]),
        ("таблетки", [{"*"}]),
    ],
)
def test_what_a_pattern_cannot_do_without_is_read_from_it(pattern: str, needs: list[set[str]]) -> None:
    assert [set(needed) for needed in required_beginnings(pattern)] == needs


def test_beginnings_of_a_text_are_compared_with_those_needed() -> None:
    beginnings = Beginnings()
    (number,) = beginnings.register(required_beginnings("\\d+ ?mg"))
    assert beginnings.of(["take", "5"]) & number and not beginnings.of(["take", "some"]) & number


def test_a_dose_hidden_in_any_form_gets_its_note_and_never_appears_when_strict() -> None:
    doses = "500 mg;５００ ｍｇ;٥٠٠ mg;½ tablet;five hundred milligrams;2 puffs;two tablets;0,5 ml;2x500mg;"
    doses += "dos pastillas;zwei Tabletten;500 мг;两片"
    for dose in doses.split(";"):
        for frame in ["{}", "Take {} daily.", "| Medicine | {} |", "```\n{}\n```", "- {} at night", "**{}**"]:
            text = frame.format(dose)
            shown, result = say(text)
            assert result.verdict == "annotated" and result.note and shown == text, text
            shown, result = say(text, strict=True)
            assert dose not in shown and result.verdict == "withheld", text
