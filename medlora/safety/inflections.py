"""Words without their inflection, so that a keyword is found in each of its forms."""

from __future__ import annotations

from functools import lru_cache

_ENDINGS = (
    ("sis", "s"), ("en", ""), ("nesses", ""), ("ness", ""), ("ingly", ""), ("edly", ""), ("ings", ""),
    ("ing", ""), ("ies", "y"), ("ied", "y"), ("ses", "s"), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""),
    ("e", ""),
)  # fmt: skip
_FORMS = """
    feet:foot teeth:tooth mice:mouse lice:louse men:man women:woman children:child dying:die lying:lie
    bled:bleed fed:feed took:take taken:take gave:give given:give fell:fall fallen:fall bit:bite
    bitten:bite swollen:swell broke:break broken:break ate:eat eaten:eat drank:drink drunk:drink
    felt:feel shook:shake shaken:shake woke:wake woken:wake threw:throw thrown:throw swam:swim
    began:begin begun:begin ran:run slept:sleep wept:weep lost:lose burnt:burn stung:sting fungi:fungus
    bacteria:bacterium vertebrae:vertebra ova:ovum bronchi:bronchus emboli:embolus thrombi:thrombus
    foci:focus nuclei:nucleus criteria:criterion indices:index appendices:appendix knives:knife
    lives:life calves:calf halves:half leaves:leaf
"""
_IRREGULAR = dict(pair.split(":") for pair in _FORMS.split())


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A word without its inflection, the same for "bleed", "bleeds", "bleeding" and "bled"."""
    word = _IRREGULAR.get(word, word)
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: len(word) - len(ending)] + instead
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiou" else word
