"""The shape of a catalogue file: what a reviewer reads and changes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ContextName = Literal[
    "negated", "definitional", "idiom", "family", "historical", "chronic", "resolved", "hypothetical"
]


class ConceptEntry(BaseModel):
    """One sign. `emergency`, `crisis`, `defer` and `caution` hold rules, one a line.

    A rule joins terms: `@name` (a list under `terms`) or `(a, b c, d*)`. `~N` within N tokens in either
    order, `>N` the same in this order, `&` in the same or a neighbouring sentence or turn, `! @name` not
    in the same sentence. In a term, `word*` is any word that begins so, `#` a number.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    sign: str = ""
    source: str = ""
    message: str | None = None
    keeps: list[ContextName] = Field(default_factory=list)
    crisis: str = ""
    emergency: str = ""
    defer: str = ""
    caution: str = ""
    positive: list[str] = Field(default_factory=list)
    negative: list[str] = Field(default_factory=list)


class MeasureEntry(BaseModel):
    """A reading that is a sign by its value: a number beside certain words, below or above a border."""

    model_config = ConfigDict(extra="forbid")

    name: str
    beside: str = ""
    unit: str = ""
    low: float = 0
    high: float = 1e9
    pair: bool = False
    reach: int = 4


class TallyEntry(BaseModel):
    """Signs that add up: each term list counts once, with its weight, within `reach` words.

    Why: no list of pairs is complete, and several lesser signs together are a reason to see someone.
    `against` holds lists that say the words are meant otherwise (a song, a lease): each takes its weight off.
    One of `core`, where it is given, must be among the signs.
    """

    model_config = ConfigDict(extra="forbid")

    concept: str
    level: Literal["caution", "defer", "emergency", "crisis"]
    needs: int = Field(ge=2)
    long_message_words: int = Field(ge=10)
    long_message_needs: int = Field(ge=2)
    reach: int = Field(ge=5)
    weights: dict[str, int]
    against: dict[str, int] = Field(default_factory=dict)
    core: list[str] = Field(default_factory=list)


class WordEntries(BaseModel):
    """How written forms become plain ones."""

    model_config = ConfigDict(extra="forbid")

    expansions: dict[str, str] = Field(default_factory=dict)
    contextual: dict[str, list[str]] = Field(default_factory=dict)
    breaks: str = ""
    fillers: str = ""
    subjects: str = ""
    persons: str = ""
    numbers: str = ""
    critical: str = ""
    lookalikes: str = ""


class CatalogueFile(BaseModel):
    """One file of a language; every part may be left out."""

    model_config = ConfigDict(extra="forbid")

    language: str = Field(pattern=r"^[a-z]{2}$")
    terms: dict[str, str] = Field(default_factory=dict)
    words: WordEntries = Field(default_factory=WordEntries)
    measures: list[MeasureEntry] = Field(default_factory=list)
    tallies: list[TallyEntry] = Field(default_factory=list)
    concepts: list[ConceptEntry] = Field(default_factory=list)
