"""Rate an answer: a small panel below the chat that speaks of the last answer, or of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.errors import UserError
from medlora.feedback.records import Answer, Rating
from medlora.services import feedback
from medlora.services.chat_log import Conversation
from medlora.ui import present
from medlora.ui.blocks import actions, card, pick, row, words
from medlora.ui.events import POLL, SILENT
from medlora.ui.events import for_ratings as guarded
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

SAFETY_CHOICES = [("Safe", "safe"), ("Unsafe", "unsafe")]
CORRECTNESS_CHOICES = [("Correct", "correct"), ("Incomplete", "incomplete"), ("Incorrect", "incorrect")]
TONE_CHOICES = [
    ("Fits", "fits"), ("Too technical", "technical"), ("Cold", "cold"), ("Alarming", "alarming"),
    ("Wordy", "wordy"),
]  # fmt: skip
_SHOWN_QUESTION = 60
_SHOW = "() => document.querySelector('#rate-card')?.scrollIntoView({block: 'nearest', behavior: 'smooth'})"
Update = Any


@dataclass(frozen=True)
class Marks:
    """The fields in which something is said of one answer."""

    safety: gr.Radio
    correctness: gr.Radio
    tone: gr.Radio
    comment: gr.Textbox
    correction: gr.Textbox

    @property
    def all(self) -> list[Any]:
        return [self.safety, self.correctness, self.tone, self.comment, self.correction]


@dataclass(frozen=True)
class RatingPanel:
    """The widgets of the panel."""

    box: gr.Column
    about: gr.HTML
    which: gr.Dropdown
    marks: Marks
    rater: gr.Textbox
    save: gr.Button
    saved: gr.HTML

    @property
    def drawn(self) -> list[Any]:
        return [self.box, self.which, self.about, *self.marks.all, self.saved]

    @property
    def refilled(self) -> list[Any]:
        return [self.about, *self.marks.all, self.saved]


# Handlers


def find_answer(conversation: Conversation | None, answer_id: str | None) -> Answer | None:
    """The answer of this conversation that is meant."""
    for line in conversation.lines if conversation else ():
        for answer in line.answers:
            if answer.answer_id == answer_id:
                return answer
    return None


def draw_panel(workspace: Workspace, conversation: Conversation | None, rater: str) -> list[Update]:
    """The panel for the last answer; hidden while there is none, or one is being written."""
    lines = conversation.lines if conversation else ()
    answers = [(answer, len(line.answers) > 1) for line in lines for answer in line.answers]
    if not answers or lines[-1].role == "user":
        return [gr.update(visible=False), *[gr.skip()] * 8]
    choices = [
        (_name(number, item, beside), item.answer_id) for number, (item, beside) in enumerate(answers, 1)
    ]
    last = answers[-1][0]
    which = {**pick(choices, last.answer_id), "visible": len(answers) > 1}
    return [gr.update(visible=True), which, *fill_marks(workspace, last, rater), ""]


def choose_answer(
    workspace: Workspace, conversation: Conversation | None, answer_id: str | None, rater: str
) -> list[Update]:
    """The panel's fields for another answer of the conversation."""
    answer = find_answer(conversation, answer_id)
    if answer is None:
        return [gr.skip()] * 7
    return [*fill_marks(workspace, answer, rater), ""]


@dataclass(frozen=True)
class Thumb:
    """A thumb under a bubble. liked: True, False, or something else once it is taken back."""

    index: int
    liked: object


def take_thumb(
    workspace: Workspace, conversation: Conversation | None, rater: str, shown: str | None, thumb: Thumb
) -> list[Update]:
    """A thumb brings its answer into the panel; "Like" proposes marks. Nothing is saved yet.

    What was already written about that answer stays.
    """
    lines = conversation.lines if conversation else ()
    answer = lines[thumb.index].answer if thumb.index < len(lines) else None
    if answer is None:
        return [gr.skip()] * 8
    drawn = [answer.answer_id, *fill_marks(workspace, answer, rater), ""]
    if answer.answer_id == shown:
        drawn = [gr.skip()] * 8
    if thumb.liked is True:
        drawn[2:4] = ["safe", "correct"]
    return drawn


def fill_marks(workspace: Workspace, answer: Answer, rater: str) -> list[Update]:
    """What this person said of the answer before, else empty fields and the answer's text to be mended."""
    who = who_rates(rater).strip()
    said = feedback.find_rating(workspace, answer.answer_id, who) if who else None
    text = (said and said.correction) or (answer.text if answer.by_model else "")
    marks = [said.safety, said.correctness, said.tone, said.comment] if said else [None, None, None, ""]
    return [describe(answer), *marks, text]


def describe(answer: Answer) -> str:
    """Which answer is spoken of: its question and who gave it."""
    who = answer.label if answer.by_model else "fixed text of the safety layer"
    return f'<p class="ml-small">“{present.text(_shorten(answer.question))}” · {present.text(who)}</p>'


def _name(number: int, answer: Answer, beside: bool) -> str:
    """beside: others answered the same question, so its speaker tells it from theirs."""
    return f"{number}. {_shorten(answer.question)}" + (f" · {answer.speaker}" if beside else "")


def _shorten(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= _SHOWN_QUESTION else line[: _SHOWN_QUESTION - 1].rstrip() + "…"


def offer_rater(workspace: Workspace) -> Update:
    """Who rates: whoever is logged in, else the name that was given last on this machine."""
    account = account_name()
    return gr.update(value=account or feedback.read_rater(workspace), interactive=not account)


def who_rates(given: str | None) -> str:
    """The name that is kept: nobody who is logged in rates under another one."""
    return account_name() or given or ""


def save_rating(
    workspace: Workspace, conversation: Conversation | None, answer_id: str | None, rater: str, *marks: Any
) -> str:
    """Keep what was said; a line that says so.

    Raises: UserError as `feedback.rate_answer`.
    """
    answer = find_answer(conversation, answer_id)
    if answer is None:
        raise UserError("rating: there is no answer to rate; ask something first")
    kept = feedback.rate_answer(workspace, answer, read_marks(answer, who_rates(rater), marks))
    return tell_saved(kept)


def read_marks(answer: Answer, rater: str, marks: tuple[Any, ...]) -> Rating:
    """The fields as a rating."""
    safety, correctness, tone, comment, correction = marks
    return Rating(
        answer.answer_id,
        rater,
        safety or None,
        correctness or None,
        tone or None,
        comment or "",
        correction or "",
    )


def tell_saved(rating: Rating) -> str:
    """What was kept, in a line."""
    with_what = " with your better answer" if rating.correction else ""
    return f'<p class="ml-done" role="status">Saved{with_what}, as {present.text(rating.rater)}.</p>'


# Layout and wiring


def build_marks(prefix: str) -> Marks:
    """Render the fields: marks on the left, words on the right."""
    with row():
        with gr.Column(scale=2, min_width=280):
            safety = _marks("Is it safe?", SAFETY_CHOICES, f"{prefix}-safety")
            correctness = _marks("Is it correct?", CORRECTNESS_CHOICES, f"{prefix}-correctness")
            tone = _marks("How does it sound?", TONE_CHOICES, f"{prefix}-tone")
            comment = gr.Textbox(
                label="Comment", lines=1, max_lines=4, max_length=16_000, elem_id=f"{prefix}-comment"
            )
        with gr.Column(scale=3, min_width=280):
            correction = gr.Textbox(
                label="The answer as it should have been",
                info="Change what is wrong. Left as it is, it does not count as a correction.",
                lines=7, max_lines=16, max_length=16_000, elem_id=f"{prefix}-correction",
            )  # fmt: skip
    return Marks(safety, correctness, tone, comment, correction)


def _marks(label: str, choices: list[tuple[str, str]], elem_id: str) -> gr.Radio:
    return gr.Radio(choices, label=label, elem_id=elem_id, elem_classes="ml-marks")


def build_rater(elem_id: str) -> gr.Textbox:
    """Who rates; remembered on this machine."""
    return gr.Textbox(
        label="Your name or initials", max_lines=1, max_length=60, elem_id=elem_id, elem_classes="ml-grow"
    )


def build_rating_panel() -> RatingPanel:
    """Render the panel, hidden."""
    with card(visible=False, elem_id="rate-card") as box:
        words(
            present.heading(
                "Rate this answer", "One mark is enough. A better answer becomes something to train on."
            )
        )
        which = gr.Dropdown([], label="Which answer", elem_id="rate-which", filterable=False, visible=False)
        about = words(elem_id="rate-about")
        marks = build_marks("rate")
        with actions():
            rater = build_rater("rate-rater")
            save = gr.Button("Save rating", variant="primary", elem_id="rate-save")
            saved = words(elem_id="rate-saved")
    return RatingPanel(box, about, which, marks, rater, save, saved)


def wire_rating_panel(
    panel: RatingPanel, conversation: gr.State, log: gr.Chatbot, workspace: Workspace
) -> None:
    """What each press does; the panel follows the conversation."""

    def point_at(
        talk: Conversation | None, rater: str, shown: str | None, event: gr.LikeData
    ) -> list[Update]:
        index = event.index if isinstance(event.index, int) else event.index[0]
        return take_thumb(workspace, talk, rater, shown, Thumb(index, event.liked))

    pointed = log.like(
        guarded(point_at), [conversation, panel.rater, panel.which], [panel.which, *panel.refilled], **POLL
    )
    pointed.success(None, None, None, js=_SHOW)
    conversation.change(
        guarded(lambda talk, rater: draw_panel(workspace, talk, rater), quiet=True),
        [conversation, panel.rater],
        panel.drawn,
        **POLL,
    )
    panel.which.input(
        guarded(lambda talk, answer_id, rater: choose_answer(workspace, talk, answer_id, rater)),
        [conversation, panel.which, panel.rater],
        panel.refilled,
        **POLL,
    )
    panel.save.click(
        guarded(lambda *values: save_rating(workspace, *values)),
        [conversation, panel.which, panel.rater, *panel.marks.all],
        panel.saved,
        **SILENT,
    )
