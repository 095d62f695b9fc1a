"""The Safety tab: try a message, change the keywords, score labelled messages, read the audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.access.roles import Permission
from medlora.errors import UserError
from medlora.services import safety
from medlora.ui import audit_card, keywords_card, present, score_card
from medlora.ui.blocks import actions, card, row, words
from medlora.ui.draft import policy_settings
from medlora.ui.events import POLL, guarded
from medlora.ui.safety_view import show_cover, show_decision
from medlora.workspace import Workspace

NOTHING_TRIED = present.empty(
    "Try a message", "See how it would be judged, which words led to it, and what the reader would see."
)
Update = Any


@dataclass(frozen=True)
class SafetyTab:
    """The widgets of the tab, card by card."""

    message: gr.Textbox
    judge: gr.Button
    verdict: gr.HTML
    keywords: keywords_card.KeywordsCard
    score: score_card.ScoreCard
    audit: audit_card.AuditCard

    @property
    def asked(self) -> list[Any]:
        """What `open_tab` reads."""
        return [*self.keywords.fields, self.keywords.traffic, self.keywords.filled, *self.audit.filters]

    @property
    def opened(self) -> list[Any]:
        """What `open_tab` fills."""
        return [*self.keywords.opened, *self.score.buttons, *self.audit.opened]


# Handlers


def judge(workspace: Workspace, message: str) -> str:
    """The decision on a message, with its reasons."""
    if not message.strip():
        raise UserError("message: there is nothing to judge; write one first")
    return show_decision(message, safety.try_message(workspace, message, policy_settings(workspace)))


def open_tab(
    workspace: Workspace, caution: str, defer: str, traffic: str, filled: tuple[str, str], *filters: str
) -> list[Update]:
    """The tab as the disk has it now: another tab or browser may have changed it."""
    return [
        *keywords_card.open_card(workspace, caution, defer, traffic, filled),
        *score_card.open_card(workspace),
        *audit_card.open_card(workspace, *filters),
    ]


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
    keywords = keywords_card.build_keywords_card()
    score = score_card.build_score_card()
    audit = audit_card.build_audit_card()
    with card():
        words(present.heading("What this covers, and what it does not"))
        words(show_cover(safety.describe_cover()), elem_id="safety-cover")
    return SafetyTab(message, press, verdict, keywords, score, audit)


def wire_safety_tab(tab: SafetyTab, workspace: Workspace) -> Any:
    """What each press does; returns the event after which the configuration holds other keywords."""
    try_it = guarded(lambda message: judge(workspace, message), needs=Permission.TRY_SAFETY)
    for event in (tab.judge.click, tab.message.submit):
        event(try_it, tab.message, tab.verdict, **POLL)
    score_card.wire_score_card(tab.score, workspace)
    audit_card.wire_audit_card(tab.audit, workspace)
    return keywords_card.wire_keywords_card(tab.keywords, workspace)
