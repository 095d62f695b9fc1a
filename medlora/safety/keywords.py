"""The user's own keywords: whole words, tolerant of inflection and of slips, under the same contexts.

A shipped single word (`severe`, `emergency`) counts only with a symptom in its clause; a word the user
adds always counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from medlora.safety.catalogue import Catalogue, load_catalogue
from medlora.safety.catalogue.trie import Hit
from medlora.safety.context import soften
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.tokens import Tokens
from medlora.safety.typos import allowed_distance, edit_distance

NEEDS_SYMPTOM = frozenset(("severe", "emergency"))
_ENDINGS = (
    ("nesses", ""), ("ness", ""), ("ingly", ""), ("edly", ""), ("ings", ""), ("ing", ""), ("ies", "y"),
    ("ied", "y"), ("ses", "s"), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""), ("e", ""),
)  # fmt: skip
_SKIPPED = 2


@dataclass(frozen=True)
class KeywordHit:
    """One keyword found: its words in the configuration, where, and what is left of its level."""

    keyword: str
    place: Hit
    contexts: frozenset[str]
    level: Level | None


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
    reading: Reading, keywords: Sequence[str], level: Level, from_place: int
) -> list[KeywordHit]:
    """Every keyword in the tokens from `from_place` on."""
    words = reading.tokens.words
    stems = [stem(word) for word in words]
    found: list[KeywordHit] = []
    for keyword in keywords:
        wanted = _keyword_stems(keyword)
        if not wanted:
            continue
        for place in range(from_place, len(words)):
            if not _same(wanted[0], words[place], stems[place], reading.catalogue):
                continue
            hit = _follow(reading, wanted, place, stems)
            if hit and not (keyword.casefold() in NEEDS_SYMPTOM and not _has_symptom(reading, hit)):
                contexts = reading.surroundings("en").contexts_of((hit,))
                found.append(KeywordHit(keyword, hit, contexts, soften(level, contexts, frozenset())))
    return found


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
    if word_stem == wanted[1] or word == wanted[0]:
        return True
    allowed = allowed_distance(wanted[0])
    if not allowed or word[0] != wanted[0][0] or abs(len(word) - len(wanted[0])) > allowed:
        return False
    if len(word) < 5 or catalogue.tokenizer.is_common(word) or catalogue.trie.knows(word):
        return False
    return edit_distance(word, wanted[0], allowed) <= allowed


def _has_symptom(reading: Reading, hit: Hit) -> bool:
    number = reading.catalogue.cues.get(("en", "cue_symptom"))
    clause = reading.tokens.clauses[hit[0]]
    return any(reading.tokens.clauses[start] == clause for start, _ in reading.hits.get(number or -1, ()))
