"""Assess what a user wrote, before any model sees it. Fails closed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from medlora.safety.decision import Decision, Finding, TurnLike, read_turns
from medlora.safety.levels import Level, action_for
from medlora.safety.policy import Policy

_FRAME = re.compile(
    r"(?P<emergency>clutching (?:his|her|my|their) chest|chest pain|can'?t breathe|unresponsive)"
    r"|(?P<crisis>kill myself|suicid\w+|end (?:my|it all|my life)|want to die)",
    re.IGNORECASE,
)


def assess(turns: Sequence[TurnLike | Mapping[str, Any]], policy: Policy) -> Decision:
    """The decision for the last user turn, in the light of the turns before it."""
    started = time.perf_counter()
    findings: list[Finding] = []
    read = read_turns(turns)
    for index, (role, text) in enumerate(read):
        if role != "user" or index < len(read) - 1:
            continue
        for found in _FRAME.finditer(text):
            name = str(found.lastgroup)
            findings.append(Finding(name, Level.parse(name), found.span(), found.group(), (), "frame", index))
    level = max((finding.level for finding in findings), default=Level.ANSWER)
    key = None if level is Level.ANSWER else level.label
    return Decision(
        level=level,
        action=action_for(level, content_filter=policy.content_filter),
        findings=tuple(findings),
        message=policy.messages.render(key) if key else None,
        message_key=key,
        catalogue_version="frame",
        latency_ms=(time.perf_counter() - started) * 1000,
    )
