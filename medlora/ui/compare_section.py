"""A blind comparison on the page: two answers, a vote, and only then the names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.errors import RunFailedError, UserError
from medlora.feedback.records import Verdict
from medlora.feedback.statistics import standing_of
from medlora.services import blind, feedback
from medlora.services.blind import Duel, Seat
from medlora.services.chat import ChatService, ChatUpdate
from medlora.services.chat_log import ADAPTER, BASE, SERVED
from medlora.services.served_seats import served_seat
from medlora.ui import present
from medlora.ui.blocks import Confirmation, actions, card, confirmation, pick, words
from medlora.ui.chat_speakers import chat_speakers, settings_of
from medlora.ui.chat_turns import UPDATE_INTERVAL_S, warn_of_phi
from medlora.ui.draft import draft_config
from medlora.ui.events import POLL, SILENT, UNSEEN
from medlora.ui.events import for_ratings as guarded
from medlora.ui.feedback_view import show_rate
from medlora.ui.rating_panel import build_rater, who_rates
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

VERDICT_NAMES: dict[Verdict, str] = {
    "left": "Left is better", "right": "Right is better", "tie": "Equally good", "both_bad": "Both are bad",
}  # fmt: skip
EMPTY = present.empty("Nothing asked yet", "Both will answer the same question. Which is which stays hidden.")
BROKE_OFF = (
    "compare: one of them could not answer, so there is nothing to vote on; try each alone in the chat"
)
Update = Any


@dataclass(frozen=True)
class CompareSection:
    """The widgets of the section."""

    first: gr.Dropdown
    second: gr.Dropdown
    question: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    phi: Confirmation
    sides: gr.HTML
    ballot: gr.Column
    rater: gr.Textbox
    votes: tuple[gr.Button, ...]
    result: gr.HTML
    duel: gr.State

    @property
    def growing(self) -> list[Any]:
        """What changes while two answers grow."""
        return [self.duel, self.sides, self.ask, self.stop, self.ballot, self.result, self.phi.box]


# Handlers


def seat_of(workspace: Workspace, speaker: str | None) -> Seat:
    """A choice of the page as a speaker."""
    if not speaker:
        raise UserError("compare: choose who answers")
    if speaker.startswith(ADAPTER):
        return Seat(adapter=speaker.removeprefix(ADAPTER))
    if speaker.startswith(SERVED):
        return served_seat(draft_config(workspace), speaker.removeprefix(SERVED))
    return Seat(base_model=speaker.removeprefix(BASE))


def offer_seats(workspace: Workspace, first: str | None, second: str | None) -> list[Update]:
    """Who may be compared; at first the newest adapter with the base model it came from."""
    choices = chat_speakers(workspace)
    left = pick(choices, first)
    others = [key for _, key in choices if key != left["value"]]
    base = next((key for key in others if key.startswith(BASE)), None)
    right = pick(choices, second if second in others else base or (others[0] if others else None))
    return [left, right]


def ask(service: ChatService, question: str, first: str | None, second: str | None) -> Iterator[list[Update]]:
    """Both answers growing; the duel, and with it the vote, comes with the last."""
    seats = (seat_of(service.workspace, first), seat_of(service.workspace, second))
    duel = blind.begin_duel(service, question, seats, account_name() or None)
    hidden, shown = gr.update(visible=False), gr.update(visible=True)
    yield [duel, show_sides(duel.question, None), hidden, shown, hidden, "", hidden]
    at = 0.0
    try:
        with closing(blind.ask_both(service, duel)) as growing:
            for duel, updates in growing:
                if duel.answers is not None:
                    break
                if time.monotonic() - at >= UPDATE_INTERVAL_S:
                    at = time.monotonic()
                    yield [gr.skip(), show_sides(duel.question, updates), *[gr.skip()] * 5]
    except RunFailedError:
        yield [None, EMPTY, shown, hidden, hidden, "", hidden]
        raise UserError(BROKE_OFF) from None
    except Exception:
        yield [None, EMPTY, shown, hidden, hidden, "", hidden]
        raise
    ballot = gr.update(visible=duel.can_vote)
    yield [duel, show_duel(duel), shown, hidden, ballot, "", hidden]


def show_sides(question: str, updates: tuple[ChatUpdate, ChatUpdate] | None) -> str:
    """Two answers in the making: their judged words and nothing that tells who speaks."""
    texts = [update.text for update in updates] if updates else ["", ""]
    return _two_columns(question, [_said(text) or '<p class="ml-waiting">Writing…</p>' for text in texts])


def show_duel(duel: Duel) -> str:
    """Both answers; with their names once the vote is cast."""
    if duel.answers is None:
        return EMPTY
    bodies = [_said(answer.text) for answer in duel.answers]
    if duel.vote is not None:
        bodies = [
            f'{body}<p class="ml-revealed">{present.text(answer.label)}'
            f"{' · preferred' if answer is duel.vote.winner else ''}</p>"
            for body, answer in zip(bodies, duel.answers, strict=True)
        ]
    note = ""
    if not all(answer.by_model for answer in duel.answers):
        note = present.notice(
            "info",
            "Nothing to vote on",
            "The safety layer answered for at least one of them, so the answers cannot be compared.",
        )
    return _two_columns(duel.question, bodies) + note


def _two_columns(question: str, bodies: list[str]) -> str:
    sides = "".join(
        f'<section class="ml-side" aria-label="{name}"><h4>{name}</h4>{body}</section>'
        for name, body in zip(("Left", "Right"), bodies, strict=True)
    )
    return f'<p class="ml-asked">{present.text(question)}</p><div class="ml-sides">{sides}</div>'


def _said(answer: str) -> str:
    return f'<div class="ml-said">{present.text(answer)}</div>' if answer else ""


def vote(workspace: Workspace, duel: Duel | None, verdict: Verdict, rater: str) -> list[Update]:
    """Keep the vote and show the names."""
    if duel is None:
        raise UserError("vote: there are no two answers to choose between; ask something first")
    done = blind.cast_vote(workspace, duel, verdict, who_rates(rater))
    return [done, show_duel(done), gr.update(visible=False), show_result(workspace, done)]


def show_result(workspace: Workspace, duel: Duel) -> str:
    """What was said, and how the two stand now."""
    if duel.answers is None or duel.vote is None:
        return ""
    left, right = sorted(duel.answers, key=lambda answer: answer.adapter is None)
    standing = standing_of(feedback.list_votes(workspace), left.speaker, right.speaker)
    return present.notice(
        "info",
        f"Saved: {VERDICT_NAMES[duel.vote.verdict].lower()}",
        f"{standing.speaker} against {standing.rival}: {standing.wins} won, {standing.losses} lost, "
        f"{standing.ties} ties, {standing.both_bad} both bad; won {show_rate(standing)}. "
        f"{standing.verdict[:1].upper()}{standing.verdict[1:]}.",
    )


# Layout and wiring


def build_compare_section() -> CompareSection:
    """Render the section's widgets."""
    with card():
        words(
            present.heading(
                "Compare blind",
                "Both answer the same question; left and right are drawn by chance, and you see who was who "
                "after your vote. A base model answers with the settings of its adapter.",
            )
        )
        with gr.Row():
            first = gr.Dropdown([], label="One", elem_id="compare-first", filterable=False)
            second = gr.Dropdown([], label="The other", elem_id="compare-second", filterable=False)
        phi = confirmation("Ask it anyway", "Change it", "compare-phi")
        question = gr.Textbox(
            label="Question", placeholder="Write a question and press Enter", lines=1, max_lines=6,
            max_length=8000, elem_id="compare-question",
        )  # fmt: skip
        with actions():
            ask_both = gr.Button("Ask both", variant="primary", elem_id="compare-ask")
            stop = gr.Button("Stop", visible=False, elem_id="compare-stop")
        sides = words(EMPTY, elem_id="compare-sides")
        with gr.Column(visible=False, elem_id="compare-ballot") as ballot:
            with actions():
                votes = tuple(
                    gr.Button(name, elem_id=f"compare-{verdict}", elem_classes=f"ml-key-{key}")
                    for key, (verdict, name) in enumerate(VERDICT_NAMES.items(), 1)
                )
            with actions():
                rater = build_rater("compare-rater")
            words('<p class="ml-small">Keys: <kbd>1</kbd> left, <kbd>2</kbd> right, <kbd>3</kbd> equal, '
                  "<kbd>4</kbd> both bad.</p>")  # fmt: skip
        result = words(elem_id="compare-result")
    return CompareSection(
        first, second, question, ask_both, stop, phi, sides, ballot, rater, votes, result, gr.State(None)
    )


def wire_compare_section(section: CompareSection, workspace: Workspace, service: ChatService) -> None:
    """What each press does."""

    def begin(question: str, first: str | None, second: str | None) -> Iterator[list[Update]]:
        served = [settings_of(service, each) for each in (first, second) if str(each).startswith(SERVED)]
        if warning := warn_of_phi(question, next((each for each in served if each.remote_host), None)):
            yield [*[gr.skip()] * 6, gr.update(visible=True), warning]
        else:
            yield from begin_anyway(question, first, second)

    def begin_anyway(question: str, first: str | None, second: str | None) -> Iterator[list[Update]]:
        for drawn in ask(service, question, first, second):
            yield [*drawn, gr.skip()]

    def stop(duel: Duel | None) -> None:
        if duel is not None:
            service.stop(duel.chat_id)

    inputs = [section.question, section.first, section.second]
    outputs = [*section.growing, section.phi.question]
    running: dict[str, Any] = {**SILENT, **UNSEEN, "concurrency_id": "chat"}
    for event in (section.ask.click, section.question.submit):
        event(guarded(begin), inputs, outputs, concurrency_limit=16, **running, js=_LEAVE_FIELD)
    section.phi.yes.click(guarded(begin_anyway), inputs, outputs, concurrency_limit=16, **running)
    section.phi.no.click(lambda: gr.update(visible=False), None, section.phi.box, **POLL)
    section.stop.click(guarded(stop), section.duel, None, **POLL)
    for button, verdict in zip(section.votes, VERDICT_NAMES, strict=True):
        button.click(
            guarded(lambda duel, rater, verdict=verdict: vote(workspace, duel, verdict, rater)),
            [section.duel, section.rater],
            [section.duel, section.sides, section.ballot, section.result],
            **SILENT,
        )


_LEAVE_FIELD = "(...values) => { document.activeElement?.blur(); return values }"
"""After asking, the keys vote instead of writing."""
