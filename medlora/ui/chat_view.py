"""How a conversation looks: bubbles with their label, and the trace of the safety layer under each turn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from medlora.feedback.records import short_model
from medlora.services.chat_log import BASE
from medlora.ui.present import count, markdown, text
from medlora.ui.safety_view import show_level

if TYPE_CHECKING:
    from medlora.services.chat import ChatUpdate
    from medlora.services.chat_log import Line

PLACEHOLDER = (
    "### Ask as a patient would\n\nEvery message is judged before a model sees it, and every answer "
    "before you do. Compare the base model with your adapter."
)
EXAMPLES = (
    "What does an HbA1c of 6.8 % mean?",
    "How should I prepare for a colonoscopy?",
    "Dad went grey and sweaty and is clutching his chest",
)
_STAGES = {
    "starting": "Starting the chat engine",
    "loading_model": "Loading the model",
    "loading_adapter": "Loading the adapter",
}


def describe_wait(update: ChatUpdate) -> str:
    """What is being waited for while there is no word yet."""
    if update.queue_place:
        return f"In the queue, place {update.queue_place}…"
    words = _STAGES.get(update.stage, update.stage)
    if not words:
        return "Thinking…"
    percent = f" {100 * update.fraction:.0f} %" if update.fraction is not None else ""
    return f"{words[:1].upper()}{words[1:]}{percent}…"


def show_foot(update: ChatUpdate) -> str:
    """What stands under an answer: notes, what was done differently, level, label, speed, reasons."""
    asides = [*update.notes, *update.notices]
    if update.stopped and not update.withheld:
        asides.append("Stopped.")
    if update.error:
        asides.append(update.error)
    notes = "".join(f'<div class="ml-aside">{text(aside)}</div>' for aside in asides)
    facts = " · ".join(text(fact) for fact in _facts(update))
    summary = f"{show_level(update.level)} <span>{facts}</span>"
    said = dict.fromkeys(str(line).replace("_", " ") for line in update.trace)
    reasons = "".join(f"<li>{text(line)}</li>" for line in said)
    if not reasons:
        return f'{notes}<div class="ml-trace">{summary}</div>'
    return f'{notes}<details class="ml-trace"><summary>{summary}</summary><ul>{reasons}</ul></details>'


def _facts(update: ChatUpdate) -> Iterable[str]:
    yield update.label or "no model was asked"
    if update.tokens:
        yield count(update.tokens, "token")
    if update.seconds_to_first_token is not None:
        yield f"first word after {update.seconds_to_first_token:.1f} s"
    if update.tokens_per_second:
        yield f"{update.tokens_per_second:.0f} tokens/s"


def show_bubbles(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The messages of the chat log: every word of people and models is inert."""
    return [{"role": line.role, "content": _show_line(line)} for line in lines]


def _show_line(line: Line) -> str:
    if line.sides:
        return show_columns([(name_speaker(side.speaker), _show_line(side)) for side in line.sides])
    words = _show_words(line.content)
    if line.fixed:
        paragraphs = text(line.content).replace("\n", "<br>")
        words = f'<div class="ml-fixed ml-fixed-{text(line.fixed)}">{paragraphs}</div>'
    return f"{words}\n\n{show_foot(line.update)}" if line.update is not None else words


def name_speaker(speaker: str) -> str:
    """Who speaks, in words: an adapter's name, a base model's with a word that it is one."""
    kind, _, name = speaker.partition(":")
    return f"{short_model(name)} (base model)" if f"{kind}:" == BASE else short_model(name)


def show_columns(columns: Iterable[tuple[str, str]]) -> str:
    """Several answers in one bubble, each under its speaker's name; the words are inert Markdown already."""
    sides = "".join(
        f'<div class="ml-side"><h4>{text(name)}</h4>\n\n{words}\n\n</div>' for name, words in columns
    )
    return f'<div class="ml-sides">{sides}</div>'


def _show_words(words: str) -> str:
    """Words as inert Markdown. Code that was not ended is ended: it would swallow what comes after."""
    opened = ""
    for line in words.splitlines():
        fence = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence and not opened:
            opened = fence[1]
        elif fence and fence[1].startswith(opened):
            opened = ""
    return markdown(f"{words}\n{opened}" if opened else words)


def show_writing(
    lines: Sequence[Line], update: ChatUpdate | None, beside: Sequence[tuple[str, ChatUpdate | None]] = ()
) -> list[dict[str, Any]]:
    """The chat log while an answer grows, or while it is waited for; `beside`: several with their names."""
    if beside:
        answer = show_columns([(name, _show_growing(each)) for name, each in beside])
    else:
        answer = _show_growing(update)
    return [*show_bubbles(lines), {"role": "assistant", "content": answer}]


def _show_growing(update: ChatUpdate | None) -> str:
    if update is not None and update.done:
        return f"{_show_words(update.text)}\n\n{show_foot(update)}"
    if update is not None and update.text:
        return _show_words(update.text)
    return f'<span class="ml-waiting">{text(describe_wait(update) if update else "Thinking…")}</span>'
