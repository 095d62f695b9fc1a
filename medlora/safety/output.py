"""Judge what a model says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medlora.safety.decision import Decision, Finding
from medlora.safety.levels import Level
from medlora.safety.policy import Policy


@dataclass(frozen=True)
class Judgement:
    """What a piece of an answer may do: go out, go out with a note, or not at all."""

    stops: bool = False
    verdict: str = "released"
    message_key: str | None = None
    findings: tuple[Finding, ...] = ()


_REASSURANCE = re.compile(r"you(?:'re| are) not having a (?:heart attack|stroke)", re.IGNORECASE)
_DOSAGE = re.compile(r"\btake \d+(?:\.\d+)? ?(?:mg|mcg|g|ml|tablets?|pills?)\b", re.IGNORECASE)


class OutputJudge:
    """Judges each piece of an answer."""

    def __init__(self, policy: Policy, decision: Decision | None = None) -> None:
        self._policy = policy
        self._decision = decision

    def judge(self, text: str, fresh_from: int) -> Judgement:
        """Judge `text`, of which everything before `fresh_from` was released already."""
        found = _REASSURANCE.search(text)
        if found and found.end() > fresh_from:
            finding = Finding(
                "false_reassurance", Level.DEFER, found.span(), found.group(), ("output",), "", -1
            )
            return Judgement(True, "withheld", "output_withheld", (finding,))
        found = _DOSAGE.search(text)
        if found and found.end() > fresh_from:
            finding = Finding(
                "dosage_directive", Level.CAUTION, found.span(), found.group(), ("output",), "", -1
            )
            if self._policy.strict:
                return Judgement(True, "withheld", "output_withheld", (finding,))
            return Judgement(False, "annotated", "output_note", (finding,))
        return Judgement()
