"""The user's own keywords: whole words, tolerant of inflection and of slips, under the same contexts.

A shipped single word (`severe`, `emergency`) counts only with a symptom in its clause; a word the user
adds always counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from medlora.safety.catalogue import Catalogue, load_catalogue
from medlora.safety.catalogue.hits import Hit
from medlora.safety.context import soften
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.tokens import Tokens
from medlora.safety.typos import allowed_distance, edit_distance

NEEDS_SYMPTOM = frozenset(("severe", "emergency"))
_SHIPPED_SIGNS = NEEDS_SYMPTOM | {"chest pain", "difficulty breathing"}
_ENDINGS = (
    ("nesses", ""), ("ness", ""), ("ingly", ""), ("edly", ""), ("ings", ""), ("ing", ""), ("ies", "y"),
    ("ied", "y"), ("ses", "s"), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""), ("e", ""),
)  # fmt: skip
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


@lru_cache(maxsize=20_000)
@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its inflection, the same for "bleed", "bleeds" and "bleeding"."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: len(word) - len(ending)] + instead
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiou" else word


@lru_cache(maxsize=256)
def _keyword_stems(keyword: str) -> tuple[tuple[str, str], ...]:
    """(word, stem) of each word of a keyword."""
    tokens = load_catalogue().tokenizer.read(keyword, 0, Tokens())
    return tuple((word, stem(word)) for word in tokens.words if word[0].isalnum())


def find_keywords(
    reading: Reading, keywords: Iterable[tuple[Level, str]], from_place: int
) -> list[KeywordHit]:
    """Every keyword, each with its level, in the tokens from `from_place` on."""
    words = reading.tokens.words
    stems = [stem(word) for word in words]
    slips = [
        place for place in range(from_place, len(words)) if _may_be_slip(words[place], reading.catalogue)
    ]
    places: dict[str, list[int]] = {}
    for place in range(from_place, len(words)):
        places.setdefault(stems[place], []).append(place)
    found: list[KeywordHit] = []
    for level, keyword in keywords:
        wanted = _keyword_stems(keyword)
        if not wanted:
            continue
        starts = places.get(wanted[0][1], []) + [p for p in slips if _is_slip_of(words[p], wanted[0][0])]
        for place in sorted(set(starts)):
            hit = _follow(reading, wanted, place, stems)
            if hit and not (keyword.casefold() in NEEDS_SYMPTOM and not _has_symptom(reading, hit)):
                contexts = _contexts_of(reading, hit, starts[:_ELSEWHERE])
                asked = frozenset() if keyword.casefold() in _SHIPPED_SIGNS else frozenset(("definitional",))
                found.append(KeywordHit(keyword, hit, contexts, soften(level, contexts, asked)))
    return found


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
    return word_stem == wanted[1] or (_may_be_slip(word, catalogue) and _is_slip_of(word, wanted[0]))


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
