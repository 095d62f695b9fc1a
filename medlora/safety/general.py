"""Sentences that speak of a subject, not of somebody who has it: questions for knowledge, and lessons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from medlora.safety.catalogue import Catalogue
from medlora.safety.catalogue.hits import Hit
from medlora.safety.places import Sentence, any_between
from medlora.safety.tokens import Tokens

Cues = Callable[[str], list[Hit]]

_OPENING = 8
_TELLING = frozenset(("tell", "give", "show", "help", "for", "to"))
_DECIDING = frozenset(("do", "can", "should", "would", "could", "does", "did", "might", "may"))
_HAVING = frozenset(
    ("have", "having", "feel", "feeling", "felt", "got", "getting", "hurts", "hurting", "aches")
)


def mark_general(catalogue: Catalogue, tokens: Tokens, sentences: Mapping[int, Sentence], cues: Cues) -> None:
    """Set `general` on the sentences that ask or teach about a subject."""
    for cue in cues("definitional"):
        sentence = sentences[tokens.sentences[cue[0]]]
        if sentence.general or cue[0] - sentence.start > _OPENING:
            continue
        if any_between(cues("pseudo_definitional"), cue[0], cue[0] + 1):
            continue
        of_now = any_between(cues("course"), sentence.start, sentence.end)
        sentence.general = not of_now and not _is_personal(catalogue, tokens, sentence, [cue])
    for turn in {tokens.turns[cue[0]] for cue in cues("learning")}:
        taught = [cue for cue in cues("learning") if tokens.turns[cue[0]] == turn]
        spoken = [sentence for sentence in sentences.values() if tokens.turns[sentence.start] == turn]
        if any(any_between(cues("course"), sentence.start, sentence.end) for sentence in spoken):
            continue
        for sentence in spoken:
            sentence.general = sentence.general or _is_lesson(catalogue, tokens, sentence, taught)


def _is_lesson(catalogue: Catalogue, tokens: Tokens, sentence: Sentence, taught: Sequence[Hit]) -> bool:
    """Whether, in a turn about a talk, an exam or a leaflet, nobody has anything or asks what to do."""
    words = tokens.words
    for place in range(sentence.start, sentence.end):
        if any(start <= place < end for start, end in taught):
            continue
        decides = place > sentence.start and words[place - 1] in _DECIDING and words[place] in ("i", "we")
        if decides or words[place] in _HAVING:
            return False
    return not _is_personal(catalogue, tokens, sentence, taught)


def _is_personal(catalogue: Catalogue, tokens: Tokens, sentence: Sentence, cues: Sequence[Hit]) -> bool:
    """Whether the sentence names someone who has it, beyond the one who asks."""
    words = tokens.words
    for place in range(sentence.start, sentence.end):
        if words[place] not in catalogue.persons or any(start <= place < end for start, end in cues):
            continue
        asks = place > sentence.start and words[place - 1] in _TELLING | _DECIDING
        begins = place == sentence.start and words[place] == "i"
        if not (asks or begins):
            return True
    return False
