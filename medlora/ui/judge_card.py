"""Judging a test script on the page: one prompt after another, without names, by single keys.

Which prompt comes next and in which order its answers stand follows from what is on disk, so a reload
loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.errors import NotFoundError, UserError
from medlora.services import feedback, script_sheets, scripts
from medlora.services.script_sheets import Sheet
from medlora.ui import present
from medlora.ui.blocks import actions, card, words
from medlora.ui.events import POLL, SILENT
from medlora.ui.events import for_ratings as guarded
from medlora.ui.feedback_view import show_standings
from medlora.ui.rating_panel import Marks, build_marks, build_rater, read_marks, tell_saved, who_rates
from medlora.workspace import Workspace

MOST_ANSWERS = 4
_DRAWN = 14 + MOST_ANSWERS
WAIT = present.empty("Nothing to judge yet", "As soon as a prompt is answered by everyone, it stands here.")
_KEYS = '<p class="ml-small">Keys: {best}, <kbd>0</kbd> none stands out, <kbd>x</kbd> all are bad, '
_KEYS += "<kbd>n</kbd> next.</p>"
Update = Any


@dataclass(frozen=True)
class JudgeCard:
    """The widgets of the card."""

    box: gr.Column
    rater: gr.Textbox
    sheet: gr.HTML
    ballot: gr.Column
    best: tuple[gr.Button, ...]
    tie: gr.Button
    bad: gr.Button
    keys: gr.HTML
    back: gr.Button
    forth: gr.Button
    which: gr.Radio
    marks: Marks
    save: gr.Button
    said: gr.HTML
    results: gr.HTML
    shown: gr.State
    """The sheet as it is seen: what is judged is this order, whatever is typed as a name meanwhile."""

    @property
    def drawn(self) -> list[Any]:
        return [
            self.box, self.shown, self.sheet, self.ballot, *self.best, self.keys, self.which,
            *self.marks.all, self.save, self.said, self.results,
        ]  # fmt: skip


# Handlers


def draw(workspace: Workspace, chosen: str | None, rater: str | None, position: int | None) -> list[Update]:
    """The prompt at a place, or else the next that this rater has not judged.

    Why names and counts only at the end: a count that moves after a vote would tell who was chosen.
    """
    try:
        script = scripts.read_state(workspace, chosen or "").script
    except NotFoundError:
        return [gr.update(visible=False), *[gr.skip()] * (_DRAWN - 1)]
    who = who_rates(rater)
    sheet = open_sheet = script_sheets.next_sheet(workspace, script, who)
    if position is not None:
        sheet = script_sheets.read_sheet(workspace, script, position, who)
    standings = script_sheets.script_standings(workspace, script) if open_sheet is None else []
    results = show_standings(standings)
    if sheet is not None:
        drawn = show_sheet(sheet, len(script.prompts))
        return [gr.update(visible=True), sheet, drawn, *_fields(sheet), results]
    text = present.notice("info", "All is judged", "Who did how well stands below.") if standings else WAIT
    hidden = gr.update(visible=False)
    blank = [hidden, *[hidden] * MOST_ANSWERS, "", hidden, None, None, None, "", "", hidden, ""]
    return [gr.update(visible=True), None, text, *blank, results]


def _fields(sheet: Sheet) -> list[Update]:
    amount = len(sheet.answers)
    best = [gr.update(visible=sheet.votable and place < amount) for place in range(MOST_ANSWERS)]
    names = [(f"Answer {place + 1}", place) for place in range(amount)]
    digits = " ".join(f"<kbd>{place + 1}</kbd>" for place in range(amount))
    keys = _KEYS.format(best=f"{digits} best") if sheet.votable else ""
    text = sheet.answers[0].text if sheet.answers[0].by_model else ""
    which = gr.update(choices=names, value=0, visible=amount > 1)
    return [
        gr.update(visible=sheet.votable), *best, keys, which, None, None, None, "", text,
        gr.update(visible=True), "",
    ]  # fmt: skip


def show_sheet(sheet: Sheet, total: int) -> str:
    """One prompt with its answers, and nothing that tells who gave them."""
    head = (
        f'<p class="ml-small">Prompt {sheet.position + 1} of {total}{" · judged" if sheet.judged else ""}</p>'
    )
    asked = f'<p class="ml-asked">{present.text(sheet.prompt.text)}</p>'
    expect = f'<p class="ml-aside">{present.text(sheet.prompt.expect)}</p>' if sheet.prompt.expect else ""
    sides = "".join(
        f'<section class="ml-side" aria-label="Answer {place}"><h4>Answer {place}</h4>'
        f'<div class="ml-said">{present.text(answer.text)}</div></section>'
        for place, answer in enumerate(sheet.answers, 1)
    )
    fixed = not all(answer.by_model for answer in sheet.answers)
    note = '<p class="ml-small">The safety layer answered this prompt itself.</p>' if fixed else ""
    return f'{head}{asked}{expect}<div class="ml-sides">{sides}</div>{note}'


def follow(workspace: Workspace, chosen: str | None, rater: str | None, shown: Sheet | None) -> list[Update]:
    """While a script runs: the first prompt that can be judged, and nothing moves under a judge's hand."""
    if shown is not None and shown.script_id == chosen:
        return [gr.skip()] * _DRAWN
    return draw(workspace, chosen, rater, None)


def vote(
    workspace: Workspace, chosen: str, shown: Sheet | None, rater: str, best: int | None, *, all_bad: bool
) -> list[Update]:
    """Keep the choice and go on to the next prompt."""
    sheet = _seen(shown)
    script_sheets.vote_best(workspace, sheet, best, who_rates(rater), all_bad=all_bad)
    return draw(workspace, chosen, rater, None)


def _seen(shown: Sheet | None) -> Sheet:
    if shown is None:
        raise UserError("script: there is nothing to judge here; choose another prompt")
    return shown


def step(
    workspace: Workspace, chosen: str | None, rater: str | None, shown: Sheet | None, by: int
) -> list[Update]:
    """The prompt before or after; beyond the last answered one nothing changes."""
    state = scripts.read_state(workspace, chosen or "")
    places = script_sheets.answered_places(workspace, state.script)
    if not places:
        return draw(workspace, chosen, rater, None)
    at = 0 if by > 0 else len(places) - 1
    if shown is not None and shown.position in places:
        at = places.index(shown.position) + by
    return draw(workspace, chosen, rater, places[min(max(at, 0), len(places) - 1)])


def choose(workspace: Workspace, shown: Sheet | None, rater: str, which: int) -> list[Update]:
    """The fields for another of the answers, as far as this person has filled them."""
    answer = _seen(shown).answers[which]
    said = feedback.find_rating(workspace, answer.answer_id, who_rates(rater))
    text = (said and said.correction) or (answer.text if answer.by_model else "")
    marks = [said.safety, said.correctness, said.tone, said.comment] if said else [None, None, None, ""]
    return [*marks, text, ""]


def rate(workspace: Workspace, shown: Sheet | None, rater: str, which: int | None, *marks: Any) -> str:
    """Keep what was said of one of the answers."""
    answer = _seen(shown).answers[which or 0]
    return tell_saved(feedback.rate_answer(workspace, answer, read_marks(answer, who_rates(rater), marks)))


# Layout and wiring


def build_judge_card() -> JudgeCard:
    """Render the card, hidden."""
    with card(visible=False, elem_id="judge-card") as box:
        words(
            present.heading(
                "Judge the answers", "Without names, in an order of your own, until all is judged."
            )
        )
        rater = build_rater("judge-rater")
        sheet = words(WAIT, elem_id="judge-sheet")
        with gr.Column(visible=False, elem_id="judge-ballot") as ballot:
            with actions():
                best = tuple(
                    gr.Button(
                        f"Answer {place + 1} is best", visible=False, elem_id=f"judge-best-{place + 1}",
                        elem_classes=f"ml-key-{place + 1}",
                    )
                    for place in range(MOST_ANSWERS)
                )  # fmt: skip
                tie = gr.Button("None stands out", elem_id="judge-tie", elem_classes="ml-key-0")
                bad = gr.Button("All are bad", elem_id="judge-bad", elem_classes="ml-key-x")
            keys = words()
        with actions():
            back = gr.Button("Previous", elem_classes=["ml-quiet", "ml-key-p"], elem_id="judge-back")
            forth = gr.Button("Next", elem_classes=["ml-quiet", "ml-key-n"], elem_id="judge-forth")
        with gr.Accordion("Say more of an answer", open=False, elem_classes="ml-group", elem_id="judge-more"):
            which = gr.Radio([], label="Which", visible=False, elem_id="judge-which")
            marks = build_marks("judge")
            with actions():
                save = gr.Button("Save rating", visible=False, elem_id="judge-save")
                said = words(elem_id="judge-said")
        results = words(elem_id="judge-results")
    return JudgeCard(
        box, rater, sheet, ballot, best, tie, bad, keys, back, forth, which, marks, save, said, results,
        gr.State(None),
    )  # fmt: skip


def wire_judge_card(judge: JudgeCard, chosen: gr.Dropdown, progress: gr.State, workspace: Workspace) -> None:
    """What each press does; `progress` changes while the chosen script runs."""
    place = [chosen, judge.shown, judge.rater]

    def cast(best: int | None, *, all_bad: bool = False) -> Any:
        return guarded(
            lambda which, shown, rater: vote(workspace, which, shown, rater, best, all_bad=all_bad)
        )

    for number, button in enumerate(judge.best):
        button.click(cast(number), place, judge.drawn, **SILENT)
    judge.tie.click(cast(None), place, judge.drawn, **SILENT)
    judge.bad.click(cast(None, all_bad=True), place, judge.drawn, **SILENT)
    for button, by in ((judge.back, -1), (judge.forth, 1)):
        button.click(
            guarded(lambda which, shown, rater, by=by: step(workspace, which, rater, shown, by)),
            place,
            judge.drawn,
            **POLL,
        )
    progress.change(
        guarded(lambda which, shown, rater: follow(workspace, which, rater, shown), quiet=True),
        place,
        judge.drawn,
        **POLL,
    )
    fields = [judge.shown, judge.rater, judge.which]
    judge.which.input(
        guarded(lambda *values: choose(workspace, *values)), fields, [*judge.marks.all, judge.said], **POLL
    )
    judge.save.click(
        guarded(lambda *values: rate(workspace, *values)), [*fields, *judge.marks.all], judge.said, **SILENT
    )
    judge.rater.submit(
        guarded(lambda which, rater: draw(workspace, which, rater, None)),
        [chosen, judge.rater],
        judge.drawn,
        **POLL,
    )
