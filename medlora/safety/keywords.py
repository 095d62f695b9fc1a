"""The user's own keywords: whole words, tolerant of inflection and of slips, under the same contexts.

A shipped single word (`severe`, `emergency`) counts only with a symptom in its clause; a word the user
adds always counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medlora.safety.catalogue import Catalogue, load_catalogue
from medlora.safety.catalogue.hits import Hit
from medlora.safety.context import soften
from medlora.safety.inflections import stem
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.tokens import Tokens
from medlora.safety.typos import allowed_distance, edit_distance

NEEDS_SYMPTOM = frozenset(("severe", "emergency"))
_SHIPPED_SIGNS = NEEDS_SYMPTOM | {"chest pain", "difficulty breathing"}
# Scripts that put no spaces between words, or hang endings on them: a keyword counts wherever it stands.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003134f]"
)
# What Arabic and Hebrew write together with a word: and, in, for, like, the; my, his, her, their.
_PREFIXED = re.compile("(?:[وف]?[بكل]?(?:ال|ل)?|[ושהבכלמ]{1,2})?$")
_SUFFIXED = re.compile("(?:ه|ها|ي|ك|ات|نا|هم|ין|ים|ות|י)?$")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u06ff]")
_FEWEST_JOINED = 4
_SKIPPED = 2
_ELSEWHERE = 6
_SHORTEST_SLIP = 5


@dataclass(frozen=True)
class KeywordHit:
    """One keyword found: its words in the configuration, where, and what is left of its level."""

    keyword: str
    place: Hit
    contexts: frozenset[str]
    level: Level | None


@lru_cache(maxsize=4096)
def _keyword_stems(keyword: str) -> tuple[tuple[str, str], ...]:
    """(word, stem) of each word of a keyword; of a symbol such as an emoji the symbol itself."""
    tokens = load_catalogue().tokenizer.read(keyword, 0, Tokens())
    words = [word for word in tokens.words if word[0].isalnum()]
    words = words or [word for word in tokens.words if not word.isascii()]
    return tuple((word, stem(word)) for word in words)


@dataclass(frozen=True)
class _Places:
    """Where the words of a text stand: by stem, those that may be slips, and pairs written as one."""

    stems: list[str]
    by_stem: dict[str, list[int]]
    slips: dict[str, dict[str, list[int]]]
    pairs: dict[str, list[Hit]]


def find_keywords(
    reading: Reading, keywords: Iterable[tuple[Level, str]], from_place: int
) -> list[KeywordHit]:
    """Every keyword once, each with its level, in the tokens from `from_place` on."""
    places = _find_places(reading, from_place)
    found: list[KeywordHit] = []
    done: set[tuple[Level, tuple[tuple[str, str], ...]]] = set()
    for level, keyword in keywords:
        wanted = _keyword_stems(keyword)
        if not wanted or (level, wanted) in done:
            continue
        done.add((level, wanted))
        hits = _find_keyword(reading, wanted, places, from_place)
        starts = [hit[0] for hit in hits]
        for hit in hits:
            if not (keyword.casefold() in NEEDS_SYMPTOM and not _has_symptom(reading, hit)):
                contexts = _contexts_of(reading, hit, starts[:_ELSEWHERE])
                asked = frozenset() if keyword.casefold() in _SHIPPED_SIGNS else frozenset(("definitional",))
                found.append(KeywordHit(keyword, hit, contexts, soften(level, contexts, asked)))
    return found


def _find_places(reading: Reading, from_place: int) -> _Places:
    words = reading.tokens.words
    stems = [stem(word) for word in words]
    by_stem: dict[str, list[int]] = {}
    slips: dict[str, dict[str, list[int]]] = {}
    pairs: dict[str, list[Hit]] = {}
    for place in range(from_place, len(words)):
        by_stem.setdefault(stems[place], []).append(place)
        word = words[place]
        if _may_be_slip(word, reading.catalogue):
            slips.setdefault(word[0], {}).setdefault(word, []).append(place)
        dashed = place + 2 < len(words) and words[place + 1] == "-"
        other = place + 1 + dashed
        if other < len(words) and (dashed or not reading.catalogue.trie.is_filler(word)):
            joined = word + words[other]
            if joined.isalnum() and reading.tokens.sentences[place] == reading.tokens.sentences[other]:
                pairs.setdefault(stem(joined), []).append((place, other + 1))
    return _Places(stems, by_stem, slips, pairs)


def _find_keyword(
    reading: Reading, wanted: tuple[tuple[str, str], ...], places: _Places, from_place: int
) -> list[Hit]:
    """Every place of one keyword, also where it is written as one word, or as two."""
    first, first_stem = wanted[0]
    words = reading.tokens.words
    starts = set(places.by_stem.get(first_stem, ()))
    for word, at in places.slips.get(first[0], {}).items():
        if _is_slip_of(word, first):
            starts.update(at)
    if not first.isascii():
        starts.update(p for p in range(from_place, len(words)) if _is_within(first, words[p]))
    hits = {hit for place in starts if (hit := _follow(reading, wanted, place, places.stems))}
    joined = "".join(word for word, _ in wanted)
    if len(joined) >= _FEWEST_JOINED:
        if len(wanted) > 1:
            hits.update((place, place + 1) for place in places.by_stem.get(stem(joined), ()))
        else:
            hits.update(places.pairs.get(first_stem, ()))
    return sorted(hits)


def _is_within(wanted: str, word: str) -> bool:
    """Whether a word holds a keyword of a script that does not part its words as Latin ones are."""
    place = word.find(wanted)
    if place < 0:
        return False
    if _UNSPACED.match(wanted):
        return True
    after = word[place + len(wanted) :]
    return bool(_RIGHT_TO_LEFT.match(wanted) and _PREFIXED.match(word[:place]) and _SUFFIXED.match(after))


def _contexts_of(reading: Reading, hit: Hit, others: Sequence[int]) -> frozenset[str]:
    """The contexts of a keyword; called long-standing elsewhere, and not new here, it is long-standing."""
    surroundings = reading.surroundings("en")
    contexts = surroundings.contexts_of((hit,))
    symptom = reading.catalogue.cues.get(("en", "cue_symptom"), -1)
    beside = [(place, place + 1) for place in others if place != hit[0]]
    if surroundings.is_long_standing(hit, [*beside, *reading.hits.of(symptom)[:_ELSEWHERE]]):
        return contexts | {"chronic"}
    return contexts


def _follow(
    reading: Reading, wanted: tuple[tuple[str, str], ...], place: int, stems: list[str]
) -> Hit | None:
    """The hit of a whole keyword that begins at a place, small words between allowed."""
    words, sentences = reading.tokens.words, reading.tokens.sentences
    end = place + 1
    for part in wanted[1:]:
        for skipped in range(_SKIPPED + 1):
            at = end + skipped
            if at >= len(words) or sentences[at] != sentences[place]:
                return None
            if _same(part, words[at], stems[at], reading.catalogue):
                end = at + 1
                break
            if not reading.catalogue.trie.is_filler(words[at]):
                return None
        else:
            return None
    return place, end


def _same(wanted: tuple[str, str], word: str, word_stem: str, catalogue: Catalogue) -> bool:
    """Whether a word is the wanted one, inflected or with a slip."""
    return (
        word_stem == wanted[1]
        or _is_within(wanted[0], word)
        or (_may_be_slip(word, catalogue) and _is_slip_of(word, wanted[0]))
    )


def _may_be_slip(word: str, catalogue: Catalogue) -> bool:
    """Whether a word is neither a known nor a common one."""
    return (
        len(word) >= _SHORTEST_SLIP
        and not catalogue.tokenizer.is_common(word)
        and not catalogue.trie.knows(word)
    )


def _is_slip_of(word: str, wanted: str) -> bool:
    allowed = allowed_distance(wanted)
    if not allowed or word[0] != wanted[0] or abs(len(word) - len(wanted)) > allowed:
        return False
    return edit_distance(word, wanted, allowed) <= allowed


def _has_symptom(reading: Reading, hit: Hit) -> bool:
    return reading.tokens.clauses[hit[0]] in reading.clauses_of(("en", "cue_symptom"))
