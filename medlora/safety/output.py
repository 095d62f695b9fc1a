"""Judge what a model says, piece by piece: may it go out, with a note, or not at all?

Why regular expressions: the rules look for a few sentence shapes in text that is already folded, each bounded
to a few words, so that a piece costs the same whatever it holds.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medlora.safety.decision import Decision, Finding
from medlora.safety.levels import Level
from medlora.safety.normalise import fold
from medlora.safety.policy import Policy

_FILE = Path(__file__).resolve().parent / "output.yaml"
_LIST = re.compile(r"\{([a-z_]+)\}")
_WORD = re.compile(r"[^\W_]+")
_SOURCE = "the rules for answers"
_LEAK_WORDS = 10
_LOOP_SENTENCES = 4
_LOOP_CHARS = 12
_LOOP_SHINGLE = 3
_LOOP_SHINGLES = 8


@dataclass(frozen=True)
class Judgement:
    """What a piece of an answer may do: go out, go out with a note, or not at all."""

    stops: bool = False
    verdict: str = "released"
    message_key: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class OutputRule:
    """One kind of statement, with every shape it takes."""

    id: str
    withholds: bool
    only_after_finding: bool
    message: str
    says: str
    pattern: re.Pattern[str]


@cache
def load_output_rules() -> tuple[OutputRule, ...]:
    """The rules for answers, compiled once."""
    data: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    lists = {
        name: re.sub(r"\s*\n?\s*\|\s*\n?\s*", "|", str(text)).strip() for name, text in data["lists"].items()
    }
    return tuple(
        OutputRule(
            id=str(entry["id"]),
            withholds=entry["effect"] == "withhold",
            only_after_finding=bool(entry.get("only_after_finding", False)),
            message=str(entry.get("message", "output_withheld")),
            says=str(entry["says"]),
            pattern=re.compile("|".join(rf"\b(?:{_expand(shape, lists)})\b" for shape in entry["patterns"])),
        )
        for entry in data["rules"]
    )


def _expand(shape: str, lists: dict[str, str]) -> str:
    """A pattern with its lists put in."""
    return _LIST.sub(lambda found: lists.get(found.group(1), found.group(0)), shape)


class OutputJudge:
    """Judges each piece of one answer; keeps what it needs to notice a loop."""

    def __init__(self, policy: Policy, decision: Decision | None = None) -> None:
        self._strict = policy.strict
        self._alarmed = decision is not None and any(
            not finding.concept.startswith("keyword:") for finding in decision.findings
        )
        self._prompt = _shingles(_words(policy.system_prompt)[0], _LEAK_WORDS)
        self._sentences: Counter[str] = Counter()
        self._judged_chars = 0

    def judge(self, text: str, fresh_from: int) -> Judgement:
        """Judge `text`, of which everything before `fresh_from` was released already."""
        words, places = _words(text)
        plain = " ".join(words)
        edge = _first_word_ending_after(places, fresh_from)
        offset = len(" ".join(words[:edge])) if edge else 0
        annotated: list[Finding] = []
        for rule in load_output_rules():
            if rule.only_after_finding and not self._alarmed:
                continue
            for found in rule.pattern.finditer(plain):
                if found.end() <= offset:
                    continue
                finding = self._finding(rule, found.group())
                if rule.withholds or self._strict:
                    return Judgement(True, "withheld", rule.message, (finding,))
                annotated.append(finding)
                break
        if self._prompt and self._prompt & _shingles(words, _LEAK_WORDS):
            leak = Finding(
                "prompt_leak", Level.DEFER, (0, 0), "", ("output",), _SOURCE, -1, "The system prompt"
            )
            return Judgement(True, "withheld", "output_withheld", (leak,))
        if self._is_looping(" ".join(words[edge:]), words):
            loop = Finding(
                "looping", Level.CAUTION, (0, 0), "", ("output",), _SOURCE, -1, "The answer repeats"
            )
            return Judgement(True, "looping", "output_looping", (loop,))
        if annotated:
            return Judgement(False, "annotated", "output_note", tuple(annotated))
        return Judgement()

    def _finding(self, rule: OutputRule, text: str) -> Finding:
        level = Level.DEFER if rule.withholds else Level.CAUTION
        return Finding(rule.id, level, (0, 0), text, ("output",), _SOURCE, -1, rule.says)

    def _is_looping(self, sentence: str, words: list[str]) -> bool:
        """Whether a sentence came too often, or a few words fill the piece."""
        if len(sentence) >= _LOOP_CHARS:
            self._sentences[sentence] += 1
            if self._sentences[sentence] >= _LOOP_SENTENCES:
                return True
        counted = Counter(tuple(words[i : i + _LOOP_SHINGLE]) for i in range(len(words) - _LOOP_SHINGLE + 1))
        return bool(counted) and max(counted.values()) >= _LOOP_SHINGLES


def _words(text: str) -> tuple[list[str], list[int]]:
    """The plain words of a text and where each ends in it."""
    folded = fold(text)
    words, ends = [], []
    for found in _WORD.finditer(folded.text):
        words.append(found.group())
        ends.append(folded.span(found.start(), found.end())[1])
    return words, ends


def _first_word_ending_after(ends: list[int], place: int) -> int:
    """The number of the first word that ends after a place."""
    for number, end in enumerate(ends):
        if end > place:
            return number
    return len(ends)


def _shingles(words: list[str], length: int) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
