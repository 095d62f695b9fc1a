"""The recognisers of the PHI scan for names: only where the words around one give it away."""

from __future__ import annotations

import re

from medlora.dataset.phi_names import EPONYM_TAIL, EPONYMS, NOT_NAMES
from medlora.dataset.phi_rule import Rule

_WORD = r"(?:O['’]|Mc|Mac|De|Di|Van|Le|La)?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20}(?:-[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20})?"
_NAME = rf"{_WORD}(?:[ \t]+(?:[A-Z]\.\s?)?{_WORD}){{0,2}}"
_FULL_NAME = rf"{_WORD}(?:[ \t]+[A-Z]\.)?(?:[ \t]+{_WORD}){{1,2}}"

_TITLES = ("mr", "mrs", "ms", "miss", "mx", "dr", "prof", "professor")


def _bare(word: str) -> str:
    return re.sub(r"['’]s?$", "", word).rstrip(".").casefold()


def _is_person(match: re.Match[str]) -> bool:
    return not any(_bare(word) in NOT_NAMES or _bare(word) in EPONYMS for word in match["phi"].split())


def _is_titled_person(match: re.Match[str]) -> bool:
    """Mr Parkinson is a person; Dr. Parkinson and Mr. Bell's palsy are not."""
    if re.match(EPONYM_TAIL, match.string[match.end("phi") : match.end("phi") + 30], re.IGNORECASE):
        return False
    first = _bare(match["phi"].split()[0])
    civil = match["title"].casefold() in ("mr", "mrs", "ms", "miss", "mx")
    return first not in NOT_NAMES and (civil or first not in EPONYMS)


PEOPLE_RULES: tuple[Rule, ...] = (
    Rule(
        "name",
        re.compile(
            rf"\b(?P<title>Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor)\b\.?[ \t]+(?P<phi>(?:[A-Z]\.\s?)?{_NAME})"
        ),
        _is_titled_person,
        cues=tuple(f" {title}{end}" for title in _TITLES for end in " ."),
        digit=False,
    ),
    Rule(
        "name",
        re.compile(
            r"\b(?:[Pp]atient|PATIENT|[Pp]t|[Cc]lient)(?:['’]s)?(?:\s+(?:full\s+)?(?:[Nn]ame|named|called|is))?"
            rf"(?:\s?[:=]\s?|\s+)(?:is\s+|was\s+)?(?P<phi>{_NAME})"
        ),
        _is_person,
        cues=("patient", "pt ", "pt:", "client"),
        digit=False,
    ),
    Rule(
        "name",
        re.compile(
            r"\b(?:[Mm]y\s+name\s+is|(?:[Ff]ull\s+|[Ll]ast\s+|[Ff]irst\s+)?[Nn]ame\s?:|RE:|Re:)\s{0,3}"
            rf"(?P<phi>{_NAME})"
        ),
        _is_person,
        cues=("name is", "name:", "name :", " re:"),
        digit=False,
    ),
    Rule(
        "name",
        re.compile(
            r"\b(?:[Mm]y|[Hh]is|[Hh]er|[Tt]heir|[Oo]ur)\s+(?:son|daughter|wife|husband|mother|father|mom|mum|dad|"
            r"brother|sister|baby|partner|grandson|granddaughter|grandmother|grandfather|uncle|aunt|friend|"
            rf"neighbou?r)(?:,|\s+named|\s+called)?\s+(?P<phi>{_NAME})"
        ),
        _is_person,
        cues=(" my ", " his ", " her ", " their ", " our "),
        digit=False,
    ),
    Rule(
        "name",
        re.compile(
            rf"\b(?P<phi>{_FULL_NAME})(?=,?\s+\(?(?:(?:(?:is|was)\s+)?an?\s+|(?:is\s+|was\s+)?aged?\s+|is\s+)?\d{{1,3}}"
            r"(?:[\s-]{0,2}(?:years?|yrs?)[\s-]{0,2}old|\s?y/?o\b)"
            r"|,?\s+\(?(?:DOB|D\.O\.B|born\s+(?:on\s+)?\d|MRN|SSN|NHS\s+(?:no|num)))"
        ),
        _is_person,
        cues=("old", "y/o", "yo ", "dob", "d.o.b", "born", "mrn", "ssn", "nhs"),
    ),
    Rule(
        "name",
        re.compile(
            r"(?:[Ss]incerely|[Rr]egards|[Bb]est\s+wishes|[Ss]igned(?:\s+by)?|[Yy]ours\s+(?:truly|faithfully))"
            rf"\s?[,:]\s{{0,4}}(?P<phi>{_FULL_NAME})"
        ),
        _is_person,
        cues=("sincerely", "regards", "wishes", "signed", "yours"),
        digit=False,
    ),
)
