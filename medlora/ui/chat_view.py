"""How a conversation looks: bubbles with their label, and the trace of the safety layer under each turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

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
    words = markdown(line.content)
    if line.fixed:
        paragraphs = text(line.content).replace("\n", "<br>")
        words = f'<div class="ml-fixed ml-fixed-{text(line.fixed)}">{paragraphs}</div>'
    return f"{words}\n\n{show_foot(line.update)}" if line.update is not None else words


def show_writing(lines: Sequence[Line], update: ChatUpdate | None) -> list[dict[str, Any]]:
    """The chat log while an answer grows, or while it is waited for."""
    bubbles = show_bubbles(lines)
    if update is not None and update.text:
        answer = markdown(update.text)
    else:
        answer = f'<span class="ml-waiting">{text(describe_wait(update) if update else "Thinking…")}</span>'
    return [*bubbles, {"role": "assistant", "content": answer}]
