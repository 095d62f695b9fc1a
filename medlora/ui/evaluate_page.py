"""The Evaluate tab's sections: what is measured, and what people say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.services.chat import ChatService
from medlora.services.scripts import ScriptRunner
from medlora.ui import (
    compare_section,
    data_report,
    data_tab,
    evaluate_tab,
    feedback_section,
    judge_card,
    present,
    script_section,
)
from medlora.ui.blocks import words
from medlora.ui.events import POLL, for_ratings, guarded
from medlora.ui.rating_panel import offer_rater
from medlora.workspace import Workspace


@dataclass(frozen=True)
class EvaluatePage:
    """The sections of the tab, and those that look at the disk when they are opened."""

    strip: gr.Tabs
    measure: evaluate_tab.EvaluateTab
    compare: compare_section.CompareSection
    scripts: script_section.ScriptSection
    scripts_page: gr.Tab
    judge: judge_card.JudgeCard
    ratings: feedback_section.FeedbackSection
    ratings_page: gr.Tab


def build_evaluate_page() -> EvaluatePage:
    """Render the tab's sections."""
    words(
        present.lead(
            "Evaluate",
            "What the training changed: in figures, and in the eyes of people who know.",
        )
    )
    with gr.Tabs(elem_id="evaluate-tabs", elem_classes="ml-subtabs") as strip:
        with gr.Tab("Measure", id="measure"):
            measure = evaluate_tab.build_evaluate_tab()
        with gr.Tab("Compare blind", id="compare"):
            compare = compare_section.build_compare_section()
        with gr.Tab("Test scripts", id="scripts") as scripts_page:
            scripts = script_section.build_script_section()
            judge = judge_card.build_judge_card()
        with gr.Tab("Ratings and votes", id="ratings") as ratings_page:
            ratings = feedback_section.build_feedback_section()
    return EvaluatePage(strip, measure, compare, scripts, scripts_page, judge, ratings, ratings_page)


def wire_evaluate_page(tab: EvaluatePage, workspace: Workspace, service: ChatService) -> None:
    """What each press does."""
    compare_section.wire_compare_section(tab.compare, workspace, service)
    script_section.wire_script_section(tab.scripts, workspace, ScriptRunner(workspace, service))
    judge_card.wire_judge_card(tab.judge, tab.scripts.chosen, tab.scripts.seen, workspace)
    feedback_section.wire_feedback_section(tab.ratings, workspace)


def wire_openings(tab: EvaluatePage, page: gr.Tab, timer: gr.Timer, workspace: Workspace) -> None:
    """What is read from disk whenever it is looked at, and every two seconds how far a script is."""
    compare, scripts, ratings = tab.compare, tab.scripts, tab.ratings
    evaluate_tab.wire_evaluate_tab(tab.measure, workspace, page, timer)
    for opened in (page, tab.ratings_page):
        opened.select(
            guarded(lambda *chosen: feedback_section.draw(workspace, *chosen)),
            [ratings.about, ratings.onto, ratings.approved],
            ratings.drawn,
            **POLL,
        )
    page.select(
        for_ratings(lambda *chosen: compare_section.offer_seats(workspace, *chosen)),
        [compare.first, compare.second],
        [compare.first, compare.second],
        **POLL,
    )
    for rater in (compare.rater, tab.judge.rater):
        page.select(for_ratings(lambda: offer_rater(workspace)), None, rater, **POLL)
    for opened in (page, tab.scripts_page):
        opened.select(
            for_ratings(lambda chosen: script_section.draw(workspace, chosen)),
            scripts.chosen,
            scripts.drawn,
            **POLL,
        )
    page.select(
        guarded(lambda chosen: script_section.offer_speakers(workspace, chosen)),
        scripts.new.speakers,
        scripts.new.speakers,
        **POLL,
    )
    timer.tick(
        for_ratings(lambda *seen: script_section.watch(workspace, *seen), quiet=True),
        [scripts.chosen, scripts.seen],
        scripts.watched,
        **POLL,
    )


def wire_look(tab: EvaluatePage, data: data_tab.DataTab, workspace: Workspace) -> Any:
    """A dataset that was made of corrections is shown in the Data tab, as any other."""

    def look(name: str) -> list[Any]:
        checked = data_report.check_stored(workspace, name, lambda share: None)
        return [*data_tab.draw_stored(workspace, name), *checked]

    shown = [data.none_stored, data.stored, *data.drawn]
    return tab.ratings.look.click(guarded(look), tab.ratings.made_name, shown, **POLL)
