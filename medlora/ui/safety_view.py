"""How a decision of the safety layer looks: its level, the words that led to it, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.present import text

if TYPE_CHECKING:
    from medlora.safety.decision import Decision, Finding

LEVEL_WORDS = {
    "answer": "The model answers",
    "caution": "The model answers; a note is added",
    "defer": "The model does not answer; the reader is referred to a professional",
    "emergency": "The model is never called; the emergency text is shown",
    "crisis": "The model is never called; the crisis text is shown",
}


def show_level(level: str) -> str:
    """The level as a word in a pill: its colour only repeats it."""
    return f'<span class="ml-level ml-{text(level).replace(" ", "-")}">{text(level)}</span>'


def mark_spans(original: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with the given spans marked; overlapping ones are joined."""
    joined: list[list[int]] = []
    for start, end in sorted((max(0, start), min(len(original), end)) for start, end in spans):
        if end <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    parts, at = [], 0
    for start, end in joined:
        parts.append(text(original[at:start]))
        parts.append(f'<mark class="ml-hit">{text(original[start:end])}</mark>')
        at = end
    return "".join(parts) + text(original[at:])


def show_decision(message: str, decision: Decision) -> str:
    """The message with what was found, the level, the reasons, and the text that would be shown."""
    label = decision.level.label
    findings: Sequence[Finding] = decision.findings
    head = f'<div class="ml-verdict">{show_level(label)}<strong>{text(LEVEL_WORDS[label])}</strong></div>'
    marked = mark_spans(message, (finding.span for finding in findings))
    body = f'<p class="ml-text">{marked}</p>'
    reasons = [_show_finding(finding, finding.level.label) for finding in findings]
    reasons += [_show_finding(finding, "set aside") for finding in decision.dropped]
    why = '<p class="ml-small">No sign of danger was found.</p>'
    if reasons:
        why = f'<ul class="ml-reasons">{"".join(reasons)}</ul>'
    fixed = ""
    if decision.message:
        fixed = present.notice("info", "What the reader sees", decision.message)
    judged = f"Catalogue {decision.catalogue_version}, judged in {decision.latency_ms:.1f} ms."
    foot = f'<p class="ml-small">{text(judged)}</p>'
    return f'<div class="ml-stack">{head}{body}{why}{fixed}{foot}</div>'


def _show_finding(finding: Finding, level: str) -> str:
    """One reason: its level, the sign, the words that led to it, their context and the source."""
    name = finding.concept.replace("_", " ")
    facts = [f"“{finding.text}”", *(word.replace("_", " ") for word in finding.context), finding.source]
    sign = f"<p>{text(finding.sign)}</p>" if finding.sign else ""
    small = " · ".join(text(fact) for fact in facts if fact)
    return f"<li>{show_level(level)}<div><strong>{text(name)}</strong>{sign}<p>{small}</p></div></li>"


def show_cover(own_words: str) -> str:
    """What the layer covers and what it does not: two columns of the module's own sentences."""
    parts: dict[str, list[str]] = {}
    heading = ""
    for line in own_words.splitlines():
        if line in ("Covered", "Not covered"):
            heading = line
        elif heading and line.strip():
            parts.setdefault(heading, []).append(line.strip())
    columns = "".join(
        f"<section><h4>{text(name)}</h4>{_list_sentences(' '.join(lines))}</section>"
        for name, lines in parts.items()
    )
    return f'<div class="ml-columns">{columns}</div>'


def _list_sentences(words: str) -> str:
    sentences = [sentence.strip().rstrip(".") for sentence in words.split(". ")]
    return f"<ul>{''.join(f'<li>{text(sentence)}.</li>' for sentence in sentences if sentence)}</ul>"
