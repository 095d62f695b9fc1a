"""The stream guard: the only path from a model to any screen, log or history.

Covered: nothing is released before it was judged, up to a sentence boundary; long runs without one are
judged in overlapping pieces; the final flush is judged too; what is released does not depend on how the
tokens were chunked; nothing goes out after a stop, a cancel or an exception.
Not covered: a sentence that is wrong without looking dangerous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from medlora.safety.decision import Decision, Finding
from medlora.safety.output import Judgement, OutputJudge
from medlora.safety.policy import Policy

MAX_HELD = 360
OVERLAP = 160
_TERMINATORS = frozenset(".!?…。！？")
_CLOSERS = frozenset("\"'”’)]*_»")
_ABBREVIATION = re.compile(
    r"dr|mr|mrs|ms|prof|st|no|vs|etc|approx|fig|e\.g|i\.e|eg|ie|inc|jr|sr|dept|est|max|min|temp|tabs?|caps?|inj"
    r"|a\.m|p\.m|a\.k\.a|u\.s|u\.k|ph\.d|m\.d|[a-z0-9]"
)


class Judge(Protocol):
    """Judges a piece of an answer, given what was released before it."""

    def judge(self, text: str, fresh_from: int) -> Judgement: ...


@dataclass(frozen=True)
class GuardResult:
    """The end of a stream.

    `text` is the last released piece. `verdict` is released, annotated, withheld, looping or cancelled;
    `note` belongs under the answer, `replacement` stands where the withheld rest would have been.
    """

    text: str
    verdict: str
    findings: tuple[Finding, ...]
    note: str | None = None
    replacement: str | None = None


class StreamGuard:
    """Feed it what the model says; show only what it returns."""

    def __init__(self, policy: Policy, decision: Decision | None = None, judge: Judge | None = None) -> None:
        self._policy = policy
        self._judge = judge or OutputJudge(policy, decision)
        self._tail = ""
        self._held = ""
        self._scanned = 0
        self._findings: list[Finding] = []
        self._verdict = "released"
        self.stopped = False
        self.cancelled = False
        self.replacement: str | None = None
        self.note: str | None = None

    @property
    def held_chars(self) -> int:
        """How much text waits for its judgement."""
        return len(self._held)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings)

    @property
    def ended(self) -> bool:
        """Whether nothing more may go out."""
        return self.stopped or self.cancelled

    def cancel(self) -> None:
        """The user stopped the answer: what is held is thrown away and nothing more goes out."""
        self.cancelled = True
        self._held = ""

    def feed(self, text: str) -> str:
        """Take a piece of the model's words; returns what may be shown now.

        Raises: whatever the judge raises, after which nothing more goes out.
        """
        if self.ended:
            return ""
        released: list[str] = []
        start = 0
        while start < len(text) and not self.ended:
            self._held += text[start : start + MAX_HELD]
            self._release_ready(released)
            start += MAX_HELD
        return "".join(released)

    def finish(self) -> GuardResult:
        """Judge what is left; call it once when the model is done."""
        text = ""
        if not self.ended and self._held:
            text = self._judge_and_release(len(self._held))
            self._held = ""
        verdict = "cancelled" if self.cancelled and not self.stopped else self._verdict
        self.cancelled = True
        return GuardResult(text, verdict, self.findings, self.note, self.replacement)

    def _release_ready(self, released: list[str]) -> None:
        """Release every piece that is complete, in the order of the text, one judgement each."""
        while not self.ended:
            cut = self._find_cut()
            if cut == 0:
                return
            released.append(self._judge_and_release(cut))

    def _find_cut(self) -> int:
        """Where the next piece ends: after a sentence's white space, or inside a run-on; 0 to wait.

        Why: it looks at one character after the other, so that the pieces depend on the text alone.
        """
        held = self._held
        limit = min(len(held), MAX_HELD)
        for place in range(self._scanned, limit):
            if held[place].isspace() and _ends_sentence(held, place):
                return place + 1
        self._scanned = limit
        if limit < MAX_HELD:
            return 0
        return _cut_run_on(held)

    def _judge_and_release(self, cut: int) -> str:
        """Judge everything held, as far as this piece needs it, and release the piece if it may go.

        Why: a run-on is judged with the overlap that stays held, so that nothing hides at a cut.
        """
        runs_on = len(self._held) >= MAX_HELD and not _ends_sentence(self._held, cut - 1)
        looked_at = self._held[: MAX_HELD if runs_on else cut]
        piece = self._held[:cut]
        try:
            judgement = self._judge.judge(self._tail + looked_at, len(self._tail))
        except BaseException:
            self.stopped, self._held = True, ""
            self._verdict = "withheld"
            self.replacement = self._policy.messages.render("failed_closed")
            raise
        self._note(judgement)
        if judgement.stops:
            self.stopped, self._held = True, ""
            return ""
        self._held = self._held[cut:]
        self._scanned = 0
        self._tail = (self._tail + piece)[-OVERLAP:]
        return piece

    def _note(self, judgement: Judgement) -> None:
        for finding in judgement.findings:
            self._findings.append(finding)
        if judgement.stops:
            self._verdict = judgement.verdict
            self.replacement = self._policy.messages.render(judgement.message_key or "output_withheld")
        elif judgement.findings and self._verdict == "released":
            self._verdict = "annotated"
            self.note = self._policy.messages.render(judgement.message_key or "output_note")


def _ends_sentence(text: str, space: int) -> bool:
    """Whether the white space at `space` follows the end of a sentence."""
    if space < 0 or space >= len(text):
        return False
    if text[space] == "\n":
        return True
    if not text[space].isspace():
        return False
    place = space - 1
    while place >= 0 and text[place] in _CLOSERS:
        place -= 1
    if place < 0 or text[place] not in _TERMINATORS:
        return False
    if text[place] != ".":
        return True
    start = place
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    word = text[start:place].lstrip("(\"'“‘[*_").lower()
    return _ABBREVIATION.fullmatch(word) is None


def _cut_run_on(held: str) -> int:
    """Where a run without a boundary is cut: at the last white space that leaves the overlap held."""
    border = MAX_HELD - OVERLAP
    for place in range(border, border // 2, -1):
        if held[place - 1].isspace():
            return place
    return border
