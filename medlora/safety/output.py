"""Judge what a model says, piece by piece: may it go out, with a note, or not at all?

Why regular expressions: the rules look for a few sentence shapes in text that is already folded, each bounded
to a few words, so that a piece costs the same whatever it holds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from medlora.safety.answer_words import Line, read_words
from medlora.safety.beginnings import Beginnings, required_beginnings
from medlora.safety.catalogue import load_catalogue
from medlora.safety.decision import Decision, Finding
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.normalise import fold
from medlora.safety.policy import Policy
from medlora.safety.tokens import Tokens

_FILE = Path(__file__).resolve().parent / "output.yaml"
_LIST = re.compile(r"\{([a-z_]+)\}")
_ONE_LETTER = re.compile(r"(.)\1{39}")
_SOURCE = "the rules for answers"
_LEAK_WORDS, _LEAST_LEAK_WORDS = 10, 6
_LOOP_SENTENCES = 4
_LOOP_CHARS = 10
_LOOP_SHINGLE = 3
_LOOP_SHINGLES = 8
_MOST_TAKEN_BACK = 8


@dataclass(frozen=True)
class Judgement:
    """What a piece of an answer may do: go out, go out with a note, or not at all."""

    stops: bool = False
    verdict: str = "released"
    message_key: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Shape:
    """One pattern of a rule, and the beginnings of words without which it cannot match."""

    written: str
    needs: tuple[int, ...]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when it is first tried: all at once would take a second."""
        return re.compile(rf"(?<!\w)(?:{self.written})(?!\w)")


@dataclass(frozen=True)
class OutputRule:
    """One kind of statement, with every shape it takes."""

    id: str
    withholds: bool
    only_after_finding: bool
    or_after_finding: bool
    beside: re.Pattern[str] | None
    message: str
    says: str
    shapes: tuple[Shape, ...]
    marked: bool
    unless_before: re.Pattern[str] | None
    unless_after: re.Pattern[str] | None
    unless_in: re.Pattern[str] | None


@dataclass(frozen=True)
class OutputRules:
    """Every rule, with the numbers of the beginnings that their patterns need."""

    rules: tuple[OutputRule, ...]
    beginnings: Beginnings


@cache
def load_output_rules() -> OutputRules:
    """The rules for answers, read once."""
    data: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    lists = {name: _read_list(name, str(text)) for name, text in data["lists"].items()}
    beginnings = Beginnings()
    return OutputRules(tuple(_read_rule(entry, lists, beginnings) for entry in data["rules"]), beginnings)


def _read_list(name: str, written: str) -> str:
    """One list as alternatives; the words of other languages folded as every text is."""
    joined = re.sub(r"\|\s+", "|", written).strip()
    return fold(joined).text if name.startswith("other_") else joined


def _read_rule(entry: dict[str, Any], lists: dict[str, str], beginnings: Beginnings) -> OutputRule:
    shapes = [_expand(shape, lists) for shape in entry["patterns"]]

    def context(name: str, around: str) -> re.Pattern[str] | None:
        written = entry.get(name)
        return re.compile(around.format(_expand(_read_list(name, written), lists))) if written else None

    return OutputRule(
        id=str(entry["id"]),
        withholds=entry["effect"] == "withhold",
        only_after_finding=bool(entry.get("only_after_finding", False)),
        or_after_finding=bool(entry.get("or_after_finding", False)),
        beside=context("beside", r"(?<!\w)(?:{})(?!\w)"),
        message=str(entry.get("message", "output_withheld")),
        says=str(entry["says"]),
        shapes=tuple(Shape(shape, beginnings.register(required_beginnings(shape))) for shape in shapes),
        marked=bool(entry.get("marked", False)),
        unless_before=context("unless_before", r"(?<!\w)(?:{}) ?$"),
        unless_after=context("unless_after", r" ?(?:{})(?!\w)"),
        unless_in=context("unless_in", r"(?<!\w)(?:{})(?!\w)"),
    )


def _expand(shape: str, lists: dict[str, str]) -> str:
    """A pattern with its lists put in, and lists within lists; `{gap3}` is up to three words."""
    shape = re.sub(r"\{gap(\d+)\}", r"(?: \\w+){0,\1}?", shape)
    shape = re.sub(r"\{gapno(\d+)\}", r"(?: (?!not|never|t\\b|if|should|must)\\w+){0,\1}?", shape)
    return _LIST.sub(lambda found: _expand(lists.get(found.group(1), found.group(0)), lists), shape)


class OutputJudge:
    """Judges each piece of one answer; keeps what it needs to notice a loop."""

    def __init__(self, policy: Policy, decision: Decision | None = None) -> None:
        self._strict = policy.strict
        self._alarmed = decision is not None and any(
            not finding.concept.startswith("keyword:") for finding in decision.findings
        )
        prompt = read_words(policy.system_prompt).words
        self._leak_words = max(_LEAST_LEAK_WORDS, min(_LEAK_WORDS, len(prompt)))
        self._prompt = _shingles(prompt, self._leak_words)
        self._sentences: Counter[str] = Counter()
        self._judged_chars = 0

    def judge(self, text: str, fresh_from: int) -> Judgement:
        """Judge `text`, of which everything before `fresh_from` was released already."""
        read = read_words(text)
        words = read.words
        edge = _first_word_ending_after(read.ends, fresh_from)
        rules = load_output_rules()
        begun = rules.beginnings.of(words)
        annotated: list[Finding] = []
        for rule in rules.rules:
            if rule.only_after_finding and not self._alarmed:
                continue
            line = read.marked if rule.marked else read.plain
            told = rule.or_after_finding and self._alarmed
            found = _search(rule, line, edge, begun, told=told)
            if found is None:
                continue
            finding = self._finding(rule, found)
            if rule.withholds or self._strict:
                return Judgement(True, "withheld", rule.message, (finding,))
            annotated.append(finding)
        if self._prompt and self._prompt & _shingles(words, self._leak_words):
            leak = Finding(
                "prompt_leak", Level.DEFER, (0, 0), "", ("output",), _SOURCE, -1, "The system prompt"
            )
            return Judgement(True, "withheld", "output_withheld", (leak,))
        if self._is_looping(words[edge:], words):
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

    def _is_looping(self, fresh: list[str], words: list[str]) -> bool:
        """Whether a sentence came too often, or a few words or one letter fill the piece."""
        sentence = " ".join(fresh[1:] if fresh and fresh[0].isdigit() else fresh)
        if sentence:
            self._sentences[sentence] += 1
            most = _LOOP_SENTENCES if len(sentence) >= _LOOP_CHARS else _LOOP_SHINGLES
            if self._sentences[sentence] >= most:
                return True
        if any(_ONE_LETTER.search(word) for word in fresh):
            return True
        counted = Counter(tuple(words[i : i + _LOOP_SHINGLE]) for i in range(len(words) - _LOOP_SHINGLE + 1))
        return bool(counted) and max(counted.values()) >= _LOOP_SHINGLES


def _search(rule: OutputRule, line: Line, edge: int, begun: int, *, told: bool) -> str | None:
    """What a rule finds that ends in the fresh words, from number `edge` on, and that no context takes back.

    Why the count: what is taken back more often than that in one piece is no honest text.
    """
    fresh = line.starts[edge] if edge < len(line.starts) else len(line.text)
    for shape in rule.shapes:
        if not all(needed & begun for needed in shape.needs):
            continue
        place, taken_back = 0, 0
        while found := shape.pattern.search(line.text, place):
            stale = found.end() <= fresh
            if not stale and (taken_back >= _MOST_TAKEN_BACK or not _is_taken_back(rule, line, found, told)):
                return found.group()
            taken_back += not stale
            place = found.end() if stale else found.start() + 1
    return None


def _is_taken_back(rule: OutputRule, line: Line, found: re.Match[str], told: bool) -> bool:
    """Whether the words of the same sentence say that a match is meant otherwise.

    told: whether the person named a sign, so that the answer need not.
    """
    number = bisect_right(line.sentences, found.start()) - 1
    start, before = line.sentences[number], line.sentences[max(0, number - 1)]
    after = bisect_right(line.sentences, found.end() - 1)
    borders = (*line.sentences, len(line.text), len(line.text))
    end, next_end = borders[after], borders[after + 1]
    return bool(
        (rule.unless_before and rule.unless_before.search(line.text[start : found.start()]))
        or (rule.unless_after and rule.unless_after.match(line.text[found.end() : end]))
        or (rule.unless_in and rule.unless_in.search(line.text[start:end]))
        or (rule.beside and not told and not _names_sign(rule.beside, line.text[before:next_end]))
    )


def _names_sign(listed: re.Pattern[str], sentence: str) -> bool:
    """Whether a sentence, or one beside it, names a sign of an emergency or a crisis, in whatever sense.

    Why the catalogue: what a person may describe in so many words, an answer may call harmless in as many.
    """
    if listed.search(sentence):
        return True
    catalogue = load_catalogue()
    reading = Reading(catalogue, catalogue.tokenizer.read(sentence, 0, Tokens()))
    return any(match.rule.level >= Level.DEFER for match in reading.match())


def _first_word_ending_after(ends: list[int], place: int) -> int:
    """The number of the first word that ends after a place."""
    return bisect_right(ends, place)


def _shingles(words: list[str], length: int) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
