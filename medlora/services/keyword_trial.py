"""What other keywords would change: on labelled messages, and on the questions people really ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.safety import Decision, Level, Policy, assess
from medlora.safety.decision import TurnLike
from medlora.safety.score import Score, score_messages
from medlora.services.configure_form import apply_form
from medlora.services.labelled import labelled_path, own_labelled, read_labelled, read_traffic
from medlora.services.templates import load_draft, save_draft
from medlora.workspace import Workspace

MOST_KEYWORDS = 500
LONGEST_KEYWORD = 200
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """A message whose decision differs between two settings; `expected` is "" where nothing was labelled.

    because: the keywords that raise it, or that are no longer there to raise it.
    """

    id: str
    text: str
    before: str
    after: str
    expected: str
    because: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the change brings the message nearer to its label: better, worse, or "" for neither."""
        if not self.expected:
            return ""
        wanted = Level.parse(self.expected) >= Level.DEFER
        was = Level.parse(self.before) >= Level.DEFER
        now = Level.parse(self.after) >= Level.DEFER
        return "" if was == now else "better" if now == wanted else "worse"


@dataclass(frozen=True)
class Traffic:
    """What would change on unlabelled questions: how many there are, their levels, and which change."""

    name: str
    messages: int
    before: Mapping[str, int]
    after: Mapping[str, int]
    changes: tuple[Change, ...]

    @property
    def deferred(self) -> tuple[int, int]:
        """How many no model would answer, before and after."""
        return _count_deferred(self.before), _count_deferred(self.after)


@dataclass(frozen=True)
class Comparison:
    """What other settings would change: how many messages, which, and the figures before and after."""

    name: str
    messages: int
    changes: tuple[Change, ...]
    before: Score
    after: Score
    traffic: Traffic | None = None

    def as_dict(self) -> dict[str, Any]:
        """What `safety what-if --json` prints."""
        traffic = None if self.traffic is None else asdict(self.traffic)
        return {
            "name": self.name,
            "messages": self.messages,
            "changes": [{**asdict(change), "verdict": change.verdict} for change in self.changes],
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "traffic": traffic,
        }


def what_would_change(
    ws: Workspace,
    before: Settings,
    after: Settings,
    path: Path | None = None,
    *,
    traffic: str | None = "",
) -> Comparison:
    """What other settings would change on a labelled file and on traffic.

    path: the user's own labelled set if there is one, else the shipped one. traffic: the name of a stored
    dataset, "" for the shipped questions, None for none.
    Raises: UserError for what cannot be read.
    """
    own = own_labelled(ws)
    source = path or own or labelled_path()
    name = source.name if path else "your labelled set" if own else "the shipped labelled set"
    messages = list(read_labelled(source))
    old, new = _Judge(before), _Judge(after)
    changes = []
    for message, _ in messages:
        expected = message.expected.label if message.expected is not None else ""
        changes += _compare(old, new, message.turns, (message.id, expected))
    return Comparison(
        name=name,
        messages=len(messages),
        changes=tuple(changes),
        before=score_messages(messages, old.policy, decide=old.decide),
        after=score_messages(messages, new.policy, decide=new.decide),
        traffic=None if traffic is None else _try_traffic(ws, old, new, traffic),
    )


def _try_traffic(ws: Workspace, old: _Judge, new: _Judge, dataset: str) -> Traffic:
    questions = read_traffic(ws, dataset or None)
    changes: list[Change] = []
    levels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for number, question in enumerate(questions, start=1):
        turns = ({"role": "user", "content": question},)
        changes += _compare(old, new, turns, (str(number), ""))
        levels[0][old.decide(turns).level.label] += 1
        levels[1][new.decide(turns).level.label] += 1
    name = f"the questions of {dataset}" if dataset else "the sample questions"
    return Traffic(name, len(questions), dict(levels[0]), dict(levels[1]), tuple(changes))


class _Judge:
    """A policy that judges each message once."""

    def __init__(self, settings: Settings) -> None:
        self.policy = Policy.from_settings(settings)
        self._known: dict[int, tuple[object, Decision]] = {}

    def decide(self, turns: Sequence[TurnLike | Mapping[str, Any]], _: Policy | None = None) -> Decision:
        known = self._known.get(id(turns))
        if known is None:
            known = self._known[id(turns)] = (turns, assess(turns, self.policy))
        return known[1]


def _compare(
    old: _Judge, new: _Judge, turns: Sequence[Mapping[str, Any]], labelled: tuple[str, str]
) -> list[Change]:
    first, second = old.decide(turns), new.decide(turns)
    if first.level is second.level:
        return []
    named, expected = labelled
    words = _keywords_in(second) if second.level > first.level else _keywords_in(first) - _keywords_in(second)
    text = str(turns[-1]["content"])
    because = tuple(sorted(words))
    return [Change(named, text, first.level.label, second.level.label, expected, because)]


def _keywords_in(decision: Decision) -> set[str]:
    prefix = "keyword:"
    return {
        finding.concept.removeprefix(prefix)
        for finding in decision.findings
        if finding.concept.startswith(prefix)
    }


def _count_deferred(levels: Mapping[str, int]) -> int:
    return sum(count for label, count in levels.items() if Level.parse(label) >= Level.DEFER)


# The keywords themselves


def read_keywords(text: str) -> list[str]:
    """The keywords of a text field, one a line or with commas, each once.

    Raises: UserError for one that can match nothing, or for too many.
    """
    words = [word.strip() for word in text.replace(",", "\n").split("\n")]
    kept = list(dict.fromkeys(word for word in words if word))
    for word in kept:
        if len(word) > LONGEST_KEYWORD or not any(char.isalnum() for char in word):
            raise UserError(
                f"keywords: this is no word or phrase (got {word[:40]!r}); write words of at most "
                f"{LONGEST_KEYWORD} characters"
            )
    if len(kept) > MOST_KEYWORDS:
        raise UserError(f"keywords: there are too many (got {len(kept)}, at most {MOST_KEYWORDS}); drop some")
    return kept


def as_settings(settings: Settings | None) -> dict[str, Any]:
    """The settings themselves; the defaults where there are none."""
    return dict(settings) if settings is not None else Config().safety.model_dump(mode="json")


def with_keywords(settings: Settings, caution: Sequence[str], defer: Sequence[str]) -> dict[str, Any]:
    """Safety settings with other keywords."""
    return {**settings, "safety_keywords": list(caution), "defer_keywords": list(defer)}


def write_keywords(ws: Workspace, caution: Sequence[str], defer: Sequence[str]) -> str:
    """Write the keywords into the configuration being written; returns its text.

    Raises: ConfigError if that text cannot be read.
    """
    draft = load_draft(ws)
    values = {"safety.safety_keywords": list(caution), "safety.defer_keywords": list(defer)}
    return save_draft(ws, apply_form(ws, draft.text, values), draft.template).text
