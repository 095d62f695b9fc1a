"""The sample dataset keeps its promises: breadth, one voice, a referral in every answer, never a dose."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"
LINES = (DATA / "sample_patient_education.jsonl").read_bytes().decode("utf-8").splitlines()
ROWS: list[dict[str, str]] = [json.loads(line) for line in LINES]
CLOSING = "\n\nWhen to get help: "

REFERRAL = re.compile(
    r"doctor|nurse|midwife|pharmacist|dentist|optician|health visitor|therapist|dietitian|counsellor"
    r"|specialist|adviser|clinic|team|maternity unit|emergency department|emergency number|crisis line",
    re.IGNORECASE,
)
HEDGE = re.compile(
    r"\b(?:may|might|could|often|usually|mostly|sometimes|generally|likely|depends?|differ|differs|tends?|unless"
    r"|seldom|rarely|many|some|several|few|common|typical|can be|can help|not always)\b",
    re.IGNORECASE,
)
EMERGENCY = re.compile(r"emergency number|emergency department|emergency clinic", re.IGNORECASE)
DOSE = re.compile(
    r"\d[\d.,]*\s*(?:mg|mcg|µg|micrograms?|milligrams?|grams?|g|ml|millilitres?|iu|units?|tablets?|pills?|puffs?"
    r"|drops)\b|\b(?:one|two|three|four|five|six|eight|ten)\s+(?:tablets?|pills?|puffs?|capsules?)\b",
    re.IGNORECASE,
)
PERSONAL = re.compile(
    r"\S+@\S+|https?://|\b(?:\+?\d[\s-]?){7,}\b|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}\b|\b(?:19|20)\d\d\b"
)
RED_FLAG = {
    "crushing pain in my chest",
    "face has dropped on one side",
    "tongue is swelling",
    "barely talk",
    "do not want to live",
    "not breathing",
    "worst headache of my life",
    "button battery",
    "confused and hard to wake",
    "bleeding and i am pregnant",
    "carbon monoxide",
    "sudden pain in one testicle",
}


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _trigrams(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return set(zip(words, words[1:], words[2:], strict=False))


def _name(row: dict[str, str]) -> str:
    return row["question"]


def test_there_are_enough_rows_for_a_first_run() -> None:
    assert len(ROWS) >= 240
    assert f"holds {len(ROWS)} questions" in (DATA / "README.md").read_text(encoding="utf-8")


def test_each_line_is_one_tidy_record_and_nothing_else() -> None:
    for number, (line, row) in enumerate(zip(LINES, ROWS, strict=True), start=1):
        assert set(row) == {"question", "answer"}, number
        for text in row.values():
            assert text == text.strip(), number
            assert "  " not in text, number
            assert text.isascii(), number
        assert line == json.dumps(row), number


def test_no_question_or_answer_comes_twice_even_nearly() -> None:
    assert len({" ".join(_words(row["question"])) for row in ROWS}) == len(ROWS)
    assert len({row["answer"].split(CLOSING)[1] for row in ROWS}) == len(ROWS)
    answers = [(_name(row), _trigrams(row["answer"])) for row in ROWS]
    for (first, left), (second, right) in itertools.combinations(answers, 2):
        assert len(left & right) <= 0.25 * len(left | right), (first, second)


def test_every_answer_is_short_and_ends_by_saying_who_can_help() -> None:
    for row in ROWS:
        answer = row["answer"]
        assert 40 <= len(answer.split()) <= 110, _name(row)
        assert answer.count("When to get help:") == 1, _name(row)
        body, closing = answer.split(CLOSING)
        assert "\n" not in body + closing, _name(row)
        assert REFERRAL.search(closing), _name(row)


def test_every_answer_is_hedged_unless_it_sends_straight_to_the_emergency_number() -> None:
    for row in ROWS:
        body, closing = row["answer"].split(CLOSING)
        assert HEDGE.search(body) or EMERGENCY.search(body + closing), _name(row)


def test_no_answer_gives_a_dose_or_holds_personal_data() -> None:
    for row in ROWS:
        text = f"{row['question']} {row['answer']}"
        assert not DOSE.search(text), _name(row)
        assert not PERSONAL.search(text), _name(row)


def test_a_question_that_describes_an_emergency_sends_to_the_emergency_number() -> None:
    for phrase in RED_FLAG:
        rows = [row for row in ROWS if phrase in row["question"].lower()]
        assert rows, phrase
        for row in rows:
            assert "your emergency number" in row["answer"], _name(row)


def test_the_language_is_plain() -> None:
    """Why: patients read it, so short sentences are worth more than complete ones."""
    lengths = [len(s.split()) for row in ROWS for s in re.split(r"(?<=[.?!])\s", row["answer"]) if s]
    assert sum(lengths) / len(lengths) <= 16
    assert max(lengths) <= 35


def test_it_is_marked_as_free_and_as_not_reviewed() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert "Not clinically reviewed" in readme
    assert "CC0 1.0" in readme
