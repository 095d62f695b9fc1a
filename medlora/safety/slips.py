"""Put typing slips into a message, to see how well it is judged all the same."""

from __future__ import annotations

import random
import re

_WORD = re.compile(r"[^\W\d_]{5,}")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def with_slips(text: str, count: int) -> str:
    """The text with a slip in each of `count` of its words of five letters and more, as far as there are any.

    Why no seed: the same text always gets the same slips, so that figures can be repeated.
    """
    dice = random.Random(f"{count}:{text}")
    words = list(_WORD.finditer(text))
    chosen = sorted(dice.sample(words, min(count, len(words))), key=lambda word: word.start(), reverse=True)
    for word in chosen:
        text = text[: word.start()] + _slip(word.group(), dice) + text[word.end() :]
    return text


def _slip(word: str, dice: random.Random) -> str:
    """One letter swapped with the next, left out, doubled, or hit on the key beside it; never the first."""
    place = dice.randrange(1, len(word) - 1)
    kind = dice.choice(("swap", "drop", "double", "beside"))
    if kind == "swap":
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[: place + 1] + word[place:]
    return word[:place] + _key_beside(word[place].lower(), dice) + word[place + 1 :]


def _key_beside(letter: str, dice: random.Random) -> str:
    for row in _KEYS:
        place = row.find(letter)
        if place >= 0:
            return dice.choice([row[n] for n in (place - 1, place + 1) if 0 <= n < len(row)])
    return letter
