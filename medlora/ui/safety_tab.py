"""The Safety tab: try a message, read and verify the audit, score a labelled file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.safety.score import Rate
from medlora.services import safety
from medlora.ui import present
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.downloads import drop_upload
from medlora.ui.draft import draft_config
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.safety_view import show_decision
from medlora.workspace import Workspace

SHOWN_ENTRIES = 50
NOTHING_TRIED = present.empty(
    "Try a message", "See how it would be judged, which words led to it, and what the reader would see."
)
NO_ENTRY = present.empty(
    "No entry yet", "Every chat turn leaves one here: its level and action, never its words."
)
Update = Any


@dataclass(frozen=True)
class SafetyTab:
    """The widgets of the tab."""

    message: gr.Textbox
    judge: gr.Button
    verdict: gr.HTML
    verify: gr.Button
    verified: gr.HTML
    entries: gr.HTML
    labelled: gr.File
    scored: gr.HTML


# Handlers


def judge(workspace: Workspace, message: str) -> str:
    """The decision on a message, with its reasons."""
    if not message.strip():
        raise UserError("message: there is nothing to judge; write one first")
    return show_decision(message, safety.try_message(workspace, message, policy_settings(workspace)))


def policy_settings(workspace: Workspace) -> Mapping[str, Any] | None:
    """The safety settings of the configuration being written; the defaults while it has errors."""
    config = draft_config(workspace)
    return config.safety.model_dump(mode="json") if config is not None else None


def verify(workspace: Workspace) -> str:
    """Whether the audit is whole."""
    report = safety.verify_audit(workspace)
    if report.ok:
        return present.notice(
            "info", "The audit is whole", f"{present.count(report.entries, 'entry', 'entries')} verified."
        )
    return present.notice("red", "The audit was changed", "\n".join(report.problems))


def show_entries(workspace: Workspace) -> str:
    """The newest entries of the audit."""
    entries = safety.audit_entries(workspace, limit=SHOWN_ENTRIES)
    if not entries:
        return NO_ENTRY
    rows = [
        (
            datetime.fromtimestamp(float(entry.get("time", 0))).strftime("%Y-%m-%d %H:%M:%S"),
            entry.get("level", entry.get("event", "")),
            entry.get("action", ""),
            ", ".join(_concepts(entry)) or "–",
            entry.get("adapter") or entry.get("base_model") or "–",
            str(entry.get("chat", entry.get("chat_id", "")))[:8],
        )
        for entry in entries
    ]
    caption = f"The newest {len(rows)}. Words of the messages are not kept."
    return present.table(("Time", "Level", "Action", "Signs", "Adapter", "Chat"), rows, caption=caption)


def _concepts(entry: Mapping[str, Any]) -> list[str]:
    return [str(item.get("concept", "")).replace("_", " ") for item in entry.get("findings", ()) if item]


def show_score(workspace: Workspace, path: Path) -> str:
    """Recall and false deferral on a labelled file, with the messages that were judged otherwise."""
    score = safety.score_file(workspace, path, policy_settings(workspace))
    figures = present.big_numbers(
        [
            ("Recall", *_figure(score.recall, "to be deferred")),
            ("False deferral", *_figure(score.false_deferral, "harmless")),
            ("Alarm rate", *_figure(score.unlabelled, "unlabelled")),
        ]
    )
    missed = [*score.misses, *score.false_deferrals]
    if not missed:
        return figures + present.notice("info", "No miss", "Every message was judged as it is labelled.")
    rows = [(miss.line, miss.expected, miss.got, miss.text[:200]) for miss in missed[:SHOWN_ENTRIES]]
    caption = f"{present.count(len(missed), 'message')} judged otherwise; the first {len(rows)}."
    return figures + present.table(("Line", "Wanted", "Judged", "Message"), rows, caption=caption)


def _figure(rate: Rate, what: str) -> tuple[str, str]:
    if not rate.total:
        return "–", "no such message"
    low, high = rate.interval
    return f"{rate.value:.0%}", f"{rate.hits} of {rate.total} {what}; 95 %: {low:.0%} to {high:.0%}"


# Layout and wiring


def build_safety_tab() -> SafetyTab:
    """Render the tab's widgets."""
    words(
        present.lead(
            "Safety",
            "Before a model is asked, every message is judged here. Emergencies and crises never reach it.",
        )
    )
    with row():
        with card(scale=2):
            words(present.heading("Try a message", "Judged by the safety settings in the Configure tab."))
            message = gr.Textbox(
                label="Message", lines=4, max_lines=10, max_length=8000, elem_id="safety-message",
                placeholder="My left arm feels heavy and I am short of breath",
            )  # fmt: skip
            with actions():
                press = gr.Button("Judge it", variant="primary", elem_id="safety-judge")
        with card(scale=3):
            verdict = words(NOTHING_TRIED, elem_id="safety-verdict")
    with card():
        words(
            present.heading(
                "Audit", "Each entry seals the one before: a change, a gap or a cut end is found."
            )
        )
        with actions():
            check = gr.Button("Verify the audit", elem_id="safety-verify")
        verified = words(elem_id="safety-verified")
        entries = words(NO_ENTRY, elem_id="safety-entries")
    with card():
        words(
            present.heading(
                "Score your own messages",
                'JSONL, one message a line: {"text": "…", "label": "defer"}. It stays on this machine.',
            )
        )
        labelled = gr.File(
            label="Labelled messages",
            file_types=[".jsonl"],
            height=120,
            elem_classes="ml-drop",
            elem_id="safety-file",
        )
        scored = words(elem_id="safety-scored")
    return SafetyTab(message, press, verdict, check, verified, entries, labelled, scored)


def wire_safety_tab(tab: SafetyTab, workspace: Workspace) -> None:
    """What each press does."""

    def check() -> list[Update]:
        return [verify(workspace), show_entries(workspace)]

    def score(path: str | None) -> list[Update]:
        if path is None:
            return [gr.skip(), gr.skip()]
        try:
            return [None, show_score(workspace, Path(path))]
        finally:
            drop_upload(Path(path))

    for event in (tab.judge.click, tab.message.submit):
        event(guarded(lambda message: judge(workspace, message)), tab.message, tab.verdict, **POLL)
    tab.verify.click(guarded(check), None, [tab.verified, tab.entries], **SILENT)
    tab.labelled.upload(guarded(score), tab.labelled, [tab.labelled, tab.scored], **SILENT)
