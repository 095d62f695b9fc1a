"""Words that weigh for or against a crisis or a danger, learned from labelled messages: a sum, explained.

Why: people speak of a crisis, and of an emergency, in more ways than rules can list. Each word, pair and
triple of words carries a weight; what a stretch of the message weighs is their sum over the root of their
number. The weights are data (`catalogue/learned*.tsv`), made by `python -m medlora.safety.learning` from the
shipped labelled messages.
What they may do: words of a crisis make a crisis where they weigh much, since a helpline shown in vain does
no harm and a missed crisis may; where they weigh less they make a referral that names the helpline. Words of
danger make a referral, never an emergency. Neither referral stands where a rule found a sign and its context
took it back, nor in a long message.
Not covered: languages other than English.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medlora.safety.catalogue.hits import Hit
from medlora.safety.levels import Level
from medlora.safety.match import Reading
from medlora.safety.tally import find_turn, weigh_against, weigh_turn

WEIGHTS = Path(__file__).resolve().parent / "catalogue" / "learned.tsv"
DANGER_WEIGHTS = WEIGHTS.with_name("learned_danger.tsv")
SCALE = 1000
STEM_LETTERS = 4
WINDOW_WORDS = 40
WINDOW_STEP = 20
_SHOWN = 3
_ALONE, _BACKED, _BACKING, _PER_AGAINST = 2.0, 0.0, 3, 0.4
_FEWEST_WORDS, _MOST_WORDS, _LEANING = 4, 30, 0.3
_DANGER_ALONE, _DANGER_BACKED, _DANGER_BACKING = 1.8, 1.0, 2
_LONG_WORDS, _LONG_SCORE, _LONG_BACKING = 45, 3.3, 6


@dataclass(frozen=True)
class Weights:
    """The weight of each feature, and of having none. `openers` are the words that begin a longer
    one, `pairs` the two words that begin one of three.
    """

    bias: float
    features: dict[str, float]
    openers: frozenset[str]
    pairs: frozenset[str]


@dataclass(frozen=True)
class Weighed:
    """The heaviest stretch of a text: its score, and the places that speak for a crisis most."""

    score: float
    places: tuple[Hit, ...]


@cache
def load_weights(path: Path = WEIGHTS) -> Weights:
    """Shipped weights, read once per process."""
    rows = (line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line[:2] != "# ")
    features = {name: int(weight) / SCALE for name, weight in rows}
    return make_weights(features.pop("(bias)"), features)


def make_weights(bias: float, features: dict[str, float]) -> Weights:
    """Weights ready to weigh with."""
    longer = [name.split(" ") for name in features if " " in name]
    openers = frozenset(words[0] for words in longer)
    return Weights(bias, features, openers, frozenset(" ".join(w[:2]) for w in longer if len(w) > 2))


def list_features(words: Sequence[str], weights: Weights | None = None) -> Iterator[tuple[str, int, int]]:
    """Each feature of a run of words with its place: a word, its stem, two, three, two with a gap.

    Shapes: (name, start, end), the end exclusive. weights: leave out what cannot be among these.
    """
    total = len(words)
    for place, word in enumerate(words):
        yield word, place, place + 1
        if len(word) > STEM_LETTERS:
            yield f"{word[:STEM_LETTERS]}*", place, place + 1
        if place + 1 < total and (weights is None or word in weights.openers):
            pair = f"{word} {words[place + 1]}"
            yield pair, place, place + 2
            if place + 2 < total:
                if weights is None or pair in weights.pairs:
                    yield f"{pair} {words[place + 2]}", place, place + 3
                yield f"{word} _ {words[place + 2]}", place, place + 3


def weigh(words: Sequence[str], weights: Weights) -> Weighed:
    """What the heaviest stretch of a text weighs; linear in its length.

    A text of which most words are unknown, as in another language, weighs nothing.
    """
    kept = [place for place, word in enumerate(words) if word.isalpha()]
    plain = [words[place] for place in kept]
    sums, counts = [0.0] * (len(plain) + 1), [0] * (len(plain) + 1)
    found: list[tuple[float, int, int]] = []
    known = 0
    for name, start, end in list_features(plain, weights):
        weight = weights.features.get(name)
        if weight is not None:
            sums[start] += weight
            counts[start] += 1
            known += end - start == 1 and name[-1] != "*"
            found.append((weight, start, end))
    if known * 2 < len(plain):
        return Weighed(weights.bias, ())
    best, span = float("-inf"), (0, 0)
    for first in range(0, max(1, len(plain) - WINDOW_STEP), WINDOW_STEP):
        last = len(plain) if len(plain) - first <= WINDOW_WORDS + WINDOW_STEP else first + WINDOW_WORDS
        number = sum(counts[first:last])
        score = sum(sums[first:last]) / math.sqrt(number or 1) + weights.bias
        if score > best:
            best, span = score, (first, last)
        if last == len(plain):
            break
    inside = sorted((hit for hit in found if span[0] <= hit[1] and hit[2] <= span[1]), reverse=True)
    places = sorted({(kept[start], kept[end - 1] + 1) for _, start, end in inside[:_SHOWN]})
    return Weighed(best, tuple(places))


def find_crisis(reading: Reading, turn: int) -> tuple[Hit, ...]:
    """The places of a turn whose words weigh enough for a crisis; none when they do not.

    Either the words weigh much alone, or they lean that way and so do the listed families of evidence. A long
    message must weigh more: among many words some always do.
    """
    first, last = find_turn(reading.tokens, turn)
    long = last - first > _LONG_WORDS
    if long and weigh_turn(reading, Level.CRISIS, turn) < _LONG_BACKING:
        return ()
    if sum(word.isalpha() for word in reading.tokens.words[first:last]) < _FEWEST_WORDS:
        return ()
    weighed = weigh_words(reading, turn)
    if long:
        enough = weighed.score > _LONG_SCORE
    else:
        alone = weighed.score - _PER_AGAINST * weigh_against(reading, Level.CRISIS, turn) > _ALONE
        backed = weighed.score > _BACKED and weigh_turn(reading, Level.CRISIS, turn) >= _BACKING
        enough = alone or backed
    return weighed.places if enough else ()


def find_distress(reading: Reading, turn: int) -> tuple[Hit, ...]:
    """The places of a short turn whose words lean to a crisis without weighing enough for one."""
    first, last = find_turn(reading.tokens, turn)
    if not _is_short_message(reading, first, last):
        return ()
    weighed = weigh_words(reading, turn)
    leans = weighed.score - _PER_AGAINST * weigh_against(reading, Level.CRISIS, turn) > _LEANING
    return weighed.places if leans else ()


def find_danger(reading: Reading, turn: int) -> tuple[Hit, ...]:
    """The places of a short turn whose words weigh enough for a referral; none when they do not.

    Either much alone, or less beside lesser signs of the catalogue. Long questions hold too many words that
    sick people use of anything.
    """
    first, last = find_turn(reading.tokens, turn)
    if not _is_short_message(reading, first, last):
        return ()
    weighed = weigh_words(reading, turn, DANGER_WEIGHTS)
    backed = weighed.score > _DANGER_BACKED and weigh_turn(reading, Level.DEFER, turn) >= _DANGER_BACKING
    return weighed.places if backed or weighed.score > _DANGER_ALONE else ()


def _is_short_message(reading: Reading, first: int, last: int) -> bool:
    """Whether a turn is short, and yet more than a reading with its name."""
    words = sum(word.isalpha() for word in reading.tokens.words[first:last])
    return _FEWEST_WORDS <= words <= _MOST_WORDS


def weigh_words(reading: Reading, turn: int, path: Path = WEIGHTS) -> Weighed:
    """What the words of a turn weigh; the places are those of the whole reading."""
    first, last = find_turn(reading.tokens, turn)
    weighed = weigh(reading.tokens.words[first:last], load_weights(path))
    return Weighed(weighed.score, tuple((start + first, end + first) for start, end in weighed.places))
