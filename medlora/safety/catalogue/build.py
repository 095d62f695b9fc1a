"""Compile the catalogue's files into what an assessment needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from medlora.errors import InternalError
from medlora.safety.catalogue.rules import Rule, TermRegister, read_rules, split_terms
from medlora.safety.catalogue.schema import CatalogueFile, ConceptEntry, MeasureEntry, TallyEntry
from medlora.safety.catalogue.trie import PhraseTrie
from medlora.safety.levels import Level
from medlora.safety.normalise import fold
from medlora.safety.tokens import Tokenizer, WordForms
from medlora.safety.typos import TypoIndex

VERSION = "1"
FOLDER = Path(__file__).resolve().parent
_RULE_LEVELS = (Level.CRISIS, Level.EMERGENCY, Level.DEFER, Level.CAUTION)
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ConceptInfo:
    """What is said about a concept wherever it is found."""

    id: str
    sign: str
    source: str
    message: str | None
    keeps: frozenset[str]
    level: Level


@dataclass(frozen=True)
class Tally:
    """Term lists by number with their weights; the rule stands for it in findings."""

    rule: Rule
    needs: int
    long_words: int
    long_needs: int
    reach: int
    weights: dict[int, int]
    against: dict[int, int]
    core: frozenset[int]


@dataclass(frozen=True)
class Catalogue:
    """Everything compiled. `cues` maps (language, role) to term lists; `rules` is by first item."""

    version: str
    sha256: str
    tokenizer: Tokenizer
    trie: PhraseTrie
    rules: dict[int, tuple[Rule, ...]]
    concepts: dict[str, ConceptInfo]
    tallies: tuple[Tally, ...]
    cues: dict[tuple[str, str], int]
    languages: tuple[str, ...]
    measures: tuple[tuple[MeasureEntry, int, int, frozenset[str]], ...]
    subjects: frozenset[str]
    persons: frozenset[str]
    multiword: frozenset[int]
    names: tuple[str, ...]


@cache
def read_files() -> tuple[tuple[CatalogueFile, ...], str]:
    """Every catalogue file, checked, in a fixed order, and the SHA-256 over their contents.

    Raises: pydantic.ValidationError for a file that breaks the schema.
    """
    digest = hashlib.sha256()
    files = []
    for path in sorted(FOLDER.glob("learned*.tsv")):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    for path in sorted(FOLDER.rglob("*.yaml")):
        data = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + data)
        # The loader is a SafeLoader, with libyaml beneath it where there is one.
        files.append(CatalogueFile.model_validate(yaml.load(data, Loader=_Loader)))  # noqa: S506
    return tuple(files), digest.hexdigest()


@cache
def load_catalogue() -> Catalogue:
    """The compiled catalogue, made once per process."""
    files, sha256 = read_files()
    forms = _WordForms(files)
    terms = TermRegister()
    for file in files:
        for name, written in file.terms.items():
            terms.add(f"{file.language}.{name}", split_terms(written))
    measures = [_register_measure(entry, file.language, terms) for file in files for entry in file.measures]
    concepts = _describe(files)
    rules = [rule for file in files for entry in file.concepts for rule in _rules_of(entry, file, terms)]
    tallies = [_read_tally(entry, file.language, terms) for file in files for entry in file.tallies]
    trie = PhraseTrie(forms.fillers, forms.numbers)
    multiword: set[int] = set()
    for number, phrases in enumerate(terms.phrases):
        for phrase in phrases:
            plain = forms.plain(phrase)
            trie.add(plain, number)
            if " " in plain:
                multiword.add(number)
    trie.freeze()
    tokenizer = Tokenizer(forms.for_tokenizer(trie, _words_of_signs(rules, tallies, terms, forms)))
    by_first: dict[int, list[Rule]] = {}
    for rule in rules:
        by_first.setdefault(rule.items[0], []).append(rule)
    cues = {
        (name.split(".", 1)[0], name.split(".", 1)[1]): number
        for name, number in terms.numbers.items()
        if ".cue_" in name
    }
    return Catalogue(
        version=f"{VERSION}-{sha256[:12]}",
        sha256=sha256,
        tokenizer=tokenizer,
        trie=trie,
        rules={first: tuple(found) for first, found in by_first.items()},
        concepts=concepts,
        tallies=tuple(tallies),
        cues=cues,
        languages=tuple(dict.fromkeys(file.language for file in files)),
        measures=tuple(measures),
        subjects=forms.subjects,
        persons=forms.persons,
        multiword=frozenset(multiword & _signs(rules, tallies) - set(cues.values())),
        names=tuple(terms.numbers),
    )


def _signs(rules: Iterable[Rule], tallies: Iterable[Tally]) -> set[int]:
    """The term lists that speak for a finding, not those that only speak against one."""
    counting = {number for rule in rules for number in rule.items}
    return counting.union(*(tally.weights for tally in tallies))


def _words_of_signs(
    rules: Iterable[Rule], tallies: Iterable[Tally], terms: TermRegister, forms: _WordForms
) -> set[str]:
    """The words that signs are made of, whose slips are put right."""
    return {
        word
        for number in _signs(rules, tallies)
        for phrase in terms.phrases[number]
        for word in forms.plain(phrase).split()
        if word.isalpha()
    }


def _register_measure(
    entry: MeasureEntry, language: str, terms: TermRegister
) -> tuple[MeasureEntry, int, int, frozenset[str]]:
    """(entry, its own number, the number of the words beside it, its unit words)."""
    own = terms.add(f"{language}.{entry.name}", ())
    return entry, own, terms.inline(language, entry.beside), frozenset(split_terms(entry.unit))


def _read_tally(entry: TallyEntry, language: str, terms: TermRegister) -> Tally:
    where = f"{language}: tally of {entry.concept}"
    weights = {terms.number(language, name, where): weight for name, weight in entry.weights.items()}
    against = {terms.number(language, name, where): weight for name, weight in entry.against.items()}
    level = Level.parse(entry.level)
    rule = Rule(entry.concept, language, level, (), (), (), f"signs that add up to {entry.needs}")
    return Tally(
        rule,
        entry.needs,
        entry.long_message_words,
        entry.long_message_needs,
        entry.reach,
        weights,
        against,
        frozenset(terms.number(language, name, where) for name in entry.core) or frozenset(weights),
    )


def _describe(files: Iterable[CatalogueFile]) -> dict[str, ConceptInfo]:
    """The concepts by id; the file that gives a source describes it for every language."""
    infos: dict[str, ConceptInfo] = {}
    for entry in (entry for file in files for entry in file.concepts):
        if entry.source and entry.id in infos:
            raise InternalError(f"catalogue: the concept {entry.id!r} is described twice")
        if entry.source:
            level = next(level for level in _RULE_LEVELS if getattr(entry, level.label))
            infos[entry.id] = ConceptInfo(
                entry.id, entry.sign, entry.source, entry.message, frozenset(entry.keeps), level
            )
    for entry in (entry for file in files for entry in file.concepts):
        if entry.id not in infos:
            raise InternalError(f"catalogue: the concept {entry.id!r} has no source in any file")
    return infos


def _rules_of(entry: ConceptEntry, file: CatalogueFile, terms: TermRegister) -> list[Rule]:
    return [
        rule
        for level in _RULE_LEVELS
        for rule in read_rules(
            getattr(entry, level.label), concept=entry.id, language=file.language, level=level, terms=terms
        )
    ]


class _WordForms:
    """The word entries of all files put together."""

    def __init__(self, files: Iterable[CatalogueFile]) -> None:
        self.expansions: dict[str, tuple[str, ...]] = {}
        self.contextual: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {}
        lists: dict[str, set[str]] = {}
        for file in files:
            words = file.words
            for written, plain in words.expansions.items():
                self.expansions[written] = tuple(plain.split())
            for written, (plain, beside) in words.contextual.items():
                self.contextual[written] = (tuple(plain.split()), frozenset(beside.split()))
            for name in ("breaks", "fillers", "subjects", "persons", "numbers", "critical", "lookalikes"):
                lists.setdefault(name, set()).update(fold(getattr(words, name)).text.split())
        self.breaks = frozenset(lists["breaks"])
        self.fillers = frozenset(lists["fillers"])
        self.subjects = frozenset(lists["subjects"])
        self.persons = frozenset(lists["persons"])
        self.numbers = frozenset(lists["numbers"])
        self._critical = lists["critical"]
        self._lookalikes = lists["lookalikes"]

    def plain(self, phrase: str) -> str:
        """A listed phrase in the form the tokenizer gives to a text."""
        words: list[str] = []
        for word in re.sub(r"['’]", "'", fold(phrase).text).split():
            words += self.expansions.get(word) or (word.removesuffix("'s"),)
        return " ".join(words)

    def for_tokenizer(self, trie: PhraseTrie, near: Iterable[str]) -> WordForms:
        common = frozenset(self._lookalikes) | self.fillers | self.subjects | self.persons | self.numbers
        typos = TypoIndex(self._critical, common, near)
        return WordForms(
            expansions=self.expansions,
            contextual=self.contextual,
            breaks=self.breaks,
            known=trie.knows,
            known_form=trie.knows_form,
            listed=trie.lists_word,
            correct=typos.correct,
            common=common,
        )
