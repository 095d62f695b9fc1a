"""The fixed texts: what a person reads instead of, or beside, a model's answer.

At most 60 words, the action first, never a diagnosis; localised from a curated table of numbers, with
words such as "your local emergency number" where no country is set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medlora.errors import InternalError, UserError

MAX_WORDS = 60
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Numbers:
    """The numbers of one country; the fallback words where it has none."""

    emergency: str
    crisis: str
    poison: str


@cache
def _shipped() -> dict[str, Any]:
    return dict(yaml.safe_load((_FOLDER / "messages.yaml").read_text(encoding="utf-8")))


@cache
def country_table() -> dict[str, dict[str, str]]:
    """ISO code → name, emergency number and, where there is one, crisis and poison line."""
    return dict(yaml.safe_load((_FOLDER / "countries.yaml").read_text(encoding="utf-8")))


def shipped_messages() -> dict[str, str]:
    """Every text by its key, placeholders unfilled."""
    return {key: text for key, text in _shipped().items() if isinstance(text, str)}


def find_numbers(country: str | None) -> Numbers:
    """The numbers of a country code; the fallback words for None, "none" or an unknown one."""
    row = country_table().get((country or "").strip().upper(), {})
    fallbacks = _shipped()["fallbacks"]
    emergency = str(row.get("emergency", fallbacks["emergency"]))
    poison = str(row.get("poison", emergency if row else fallbacks["poison"]))
    return Numbers(emergency=emergency, crisis=str(row.get("crisis", fallbacks["crisis"])), poison=poison)


@dataclass(frozen=True)
class Messages:
    """The texts in force: the shipped ones under the user's edits, with a country's numbers."""

    texts: Mapping[str, str]
    numbers: Numbers

    @classmethod
    def build(cls, country: str | None, edits: Mapping[str, str] | None = None) -> Messages:
        """Raises: UserError for an edit that `check_messages` refuses."""
        problems = check_edits(edits or {})
        if problems:
            raise UserError("\n".join(problems))
        return cls(texts={**shipped_messages(), **(edits or {})}, numbers=find_numbers(country))

    def render(self, key: str) -> str:
        """One text with its numbers filled in.

        Raises: InternalError for a key that does not exist.
        """
        if key not in self.texts:
            raise InternalError(f"messages: no text of that name (got {key!r})")
        numbers = {"emergency": self.numbers.emergency, "crisis": self.numbers.crisis}
        numbers["poison"] = self.numbers.poison
        return _PLACEHOLDER.sub(lambda found: numbers.get(found.group(1), found.group(0)), self.texts[key])


def check_edits(edits: Mapping[str, str]) -> list[str]:
    """What is wrong with a user's texts; empty when all is well."""
    problems: list[str] = []
    shipped = shipped_messages()
    for key, text in edits.items():
        where = f"safety.messages.{key}"
        if key not in shipped:
            known = ", ".join(sorted(shipped))
            problems.append(f"{where}: there is no text of that name; choose one of: {known}")
            continue
        if not isinstance(text, str) or not text.strip():
            problems.append(
                f"{where}: the text is empty; write one, or remove the key to keep the shipped text"
            )
            continue
        wanted, found = set(_PLACEHOLDER.findall(shipped[key])), set(_PLACEHOLDER.findall(text))
        problems += [
            f"{where}: the placeholder {{{name}}} is missing; add it where the number should stand"
            for name in sorted(wanted - found)
        ]
        problems += [
            f"{where}: the placeholder {{{name}}} is unknown; use {{emergency}}, {{crisis}} or {{poison}}"
            for name in sorted(found - {"emergency", "crisis", "poison"})
        ]
        words = len(text.split())
        if words > MAX_WORDS:
            problems.append(f"{where}: the text is too long (got {words} words); use at most {MAX_WORDS}")
    return problems


def check_messages(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with `country` and `messages` of a configuration's safety section."""
    problems: list[str] = []
    country = settings.get("country")
    if country not in (None, "", "none") and str(country).upper() not in country_table():
        known = ", ".join(sorted(country_table()))
        problems.append(
            f"safety.country: no numbers are known for it (got {country!r}); use none or one of: {known}"
        )
    edits = settings.get("messages") or {}
    if not isinstance(edits, Mapping):
        return [*problems, "safety.messages: this must be a table of texts; write `key: text` lines under it"]
    return problems + check_edits(edits)
