"""Assess what a user wrote, before any model sees it. Fails closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from medlora.safety.catalogue import load_catalogue
from medlora.safety.conversation import Conversation
from medlora.safety.decision import Decision, Finding, TurnLike, read_turns
from medlora.safety.keywords import KeywordHit, find_keywords
from medlora.safety.levels import Action, Level, action_for
from medlora.safety.policy import Policy
from medlora.safety.semantic import load_semantic_tier, suspect

_MOST_FINDINGS = 40
_LOG = logging.getLogger(__name__)
_CLINICIAN_KEYS = {"defer", "emergency", "crisis"}


def assess(turns: Sequence[TurnLike | Mapping[str, Any]], policy: Policy) -> Decision:
    """The decision for the last user turn, in the light of the turns before it.

    Why it never raises: a fault in the rules must stop the model, not the check.
    """
    started = time.perf_counter()
    try:
        return _assess(turns, policy, started)
    except Exception as error:  # noqa: BLE001 - the edge of the safety layer: fail closed
        _LOG.error("the assessment failed: %s", type(error).__name__)
        return Decision(
            level=Level.DEFER,
            action=Action.DEFER,
            findings=(),
            message=policy.messages.render("failed_closed"),
            message_key="failed_closed",
            catalogue_version="unknown",
            latency_ms=(time.perf_counter() - started) * 1000,
        )


def _assess(turns: Sequence[TurnLike | Mapping[str, Any]], policy: Policy, started: float) -> Decision:
    catalogue = load_catalogue()
    spoken = read_turns(turns)
    conversation = Conversation(catalogue, spoken)
    live, dropped = conversation.findings()
    keywords = [(Level.CAUTION, word) for word in policy.safety_keywords]
    keywords += [(Level.DEFER, word) for word in policy.defer_keywords]
    for hit in find_keywords(conversation.reading, keywords, conversation.last_start):
        finding = _keyword_finding(conversation, hit)
        (dropped if finding.dropped else live).append(finding)
    if policy.semantic:
        live += suspect(spoken, live, conversation.reading, load_semantic_tier())
    findings = _tidy(live)
    level = max((finding.level for finding in findings), default=Level.ANSWER)
    register = "clinician" if conversation.is_clinician() else "lay"
    key = _message_key(level, findings, register)
    return Decision(
        level=level,
        action=action_for(level, content_filter=policy.content_filter),
        findings=findings,
        message=policy.messages.render(key) if key else None,
        message_key=key,
        catalogue_version=catalogue.version,
        latency_ms=(time.perf_counter() - started) * 1000,
        register=register,
        dropped=_tidy(dropped),
    )


def _keyword_finding(conversation: Conversation, hit: KeywordHit) -> Finding:
    return conversation.make_finding(
        concept=f"keyword:{hit.keyword}",
        level=hit.level,
        items=(hit.place,),
        contexts=hit.contexts,
        source="the keywords of this configuration",
        sign="A keyword of this configuration",
    )


def _tidy(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sorted, the strongest first, one per concept and place, and no more than a reader can use."""
    kept: list[Finding] = []
    latest: dict[tuple[str, int], tuple[int, int]] = {}
    for finding in sorted(findings, key=lambda f: (-f.level, f.turn, f.span[0], -f.span[1], f.concept)):
        place = (finding.concept, finding.turn)
        before = latest.get(place)
        if before and before[0] < finding.span[1] and finding.span[0] < before[1]:
            continue
        latest[place] = finding.span
        kept.append(finding)
    return tuple(kept[:_MOST_FINDINGS])


def _message_key(level: Level, findings: Sequence[Finding], register: str) -> str | None:
    """Which fixed text goes with the decision."""
    if level is Level.ANSWER:
        return None
    key = level.label
    if level is Level.DEFER and any(f.level is level and f.concept == "words_of_crisis" for f in findings):
        return "distress"
    if register == "clinician" and key in _CLINICIAN_KEYS:
        return f"clinician_{key}"
    concepts = load_catalogue().concepts
    wishes = {
        concepts[finding.concept].message if finding.concept in concepts else None
        for finding in findings
        if finding.level == level
    }
    if level >= Level.EMERGENCY and len(wishes) == 1:
        return wishes.pop() or key
    return key
