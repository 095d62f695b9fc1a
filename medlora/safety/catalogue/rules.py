"""Read the rules of a catalogue: `@chest ~4 (crush*, squeez*) & @sweat ! @exercise`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medlora.errors import InternalError
from medlora.safety.levels import Level

_PART = re.compile(
    r"\s*(?:@(?P<name>[a-z0-9_]+)|\((?P<list>[^()]*)\)|(?P<link>[~>]\d+|&|!)|(?P<word>[^\W\d_]+\*?))\s*"
)


@dataclass(frozen=True)
class Rule:
    """Terms by number, linked. `links[i]` joins item i to item i - 1: ("~" | ">" | "&", distance)."""

    concept: str
    language: str
    level: Level
    items: tuple[int, ...]
    links: tuple[tuple[str, int], ...]
    excludes: tuple[int, ...]
    written: str


class TermRegister:
    """Numbers for term lists; the same list asked for twice is one."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.phrases: list[tuple[str, ...]] = []

    def add(self, name: str, phrases: tuple[str, ...]) -> int:
        if name in self.numbers:
            raise InternalError(f"catalogue: the term list {name!r} is defined twice")
        self.numbers[name] = len(self.phrases)
        self.phrases.append(phrases)
        return self.numbers[name]

    def number(self, language: str, name: str, where: str) -> int:
        """Raises: InternalError for a list that no file defines."""
        for full in (f"{language}.{name}", f"any.{name}"):
            if full in self.numbers:
                return self.numbers[full]
        raise InternalError(f"catalogue: {where}: no term list is called {name!r}")

    def inline(self, language: str, written: str) -> int:
        key = f"{language}:{written}"
        if key in self.numbers:
            return self.numbers[key]
        phrases: list[str] = []
        for phrase in split_terms(written):
            if phrase.startswith("@"):
                phrases += self.phrases[self.number(language, phrase[1:], written)]
            else:
                phrases.append(phrase)
        return self.add(key, tuple(phrases))


def split_terms(written: str) -> tuple[str, ...]:
    """The phrases of a comma-separated list."""
    return tuple(phrase for part in written.split(",") if (phrase := " ".join(part.split())))


def read_rules(written: str, *, concept: str, language: str, level: Level, terms: TermRegister) -> list[Rule]:
    """The rules of one level of one concept, one a line; `#` at the start of a line is a comment."""
    rules = []
    for line in written.splitlines():
        text = line.strip()
        if text and not text.startswith("# "):
            rules.append(_read_rule(text, concept, language, level, terms))
    return rules


def _read_rule(text: str, concept: str, language: str, level: Level, terms: TermRegister) -> Rule:
    where = f"{language}: {concept}: {text!r}"
    items: list[int] = []
    links: list[tuple[str, int]] = []
    excludes: list[int] = []
    place, link = 0, ""
    while place < len(text):
        part = _PART.match(text, place)
        if not part:
            raise InternalError(f"catalogue: {where}: cannot read it from {text[place:]!r}")
        place = part.end()
        if part["link"]:
            link = part["link"]
            continue
        number = (
            terms.number(language, part["name"], where)
            if part["name"]
            else terms.inline(language, part["list"] or part["word"])
        )
        if link == "!":
            excludes.append(number)
        else:
            if bool(items) != bool(link):
                raise InternalError(f"catalogue: {where}: two terms need a link between them")
            items.append(number)
            links.append((link[:1] or "&", int(link[1:] or 0)))
        link = "!" if link == "!" else ""
    return Rule(concept, language, level, tuple(items), tuple(links), tuple(excludes), text)
