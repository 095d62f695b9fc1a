"""What a report on an adapter is made of, read from disk; and the report saved beside the adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.runs.live import observe
from medlora.runs.state import Point
from medlora.services import adapters, evaluate
from medlora.services.adapter_places import is_place, short_name
from medlora.services.adapters import AdapterCard, part
from medlora.services.feedback import FeedbackSummary, summarise_feedback
from medlora.services.release import Release, read_release
from medlora.services.run_reading import thin_points
from medlora.workspace import Workspace, write_atomic

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
_SECTIONS = ("model", "lora", "training", "data", "safety", "inference", "evaluation")
_ELSEWHERE = (
    "data.dataset_path",
    "training.output_dir",
    "safety.system_prompt",
    "evaluation.intended_use",
)


@dataclass(frozen=True)
class ReportFacts:
    """Everything a report says. evaluation: figures alone, without questions and answers of the dataset."""

    card: AdapterCard
    weights_sha256: str
    base_licence: str
    release: Release
    evaluation: Mapping[str, Any] | None
    feedback: FeedbackSummary
    loss: tuple[Point, ...] = ()
    eval_loss: tuple[Point, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The facts as --json prints them."""
        provenance = self.card.provenance
        return {
            "adapter": self.card.name,
            "base_model": base_name(self.card.base_model),
            "base_licence": self.base_licence,
            "weights_sha256": self.weights_sha256,
            "dataset": dict(part(provenance, "dataset")),
            "metrics": dict(part(provenance, "metrics")),
            "release": self.release.as_dict(),
            "evaluation": self.evaluation,
            "ratings": self.feedback.ratings,
            "votes": self.feedback.votes,
        }


def gather(ws: Workspace, name: str) -> ReportFacts:
    """The facts as they are now.

    Raises: NotFoundError.
    """
    release = read_release(ws, name)
    card = adapters.show(ws, name)
    result = evaluate.read_result(card)
    loss: tuple[Point, ...] = ()
    eval_loss: tuple[Point, ...] = ()
    if card.run_id and ws.run(card.run_id).events.exists():
        state = observe(ws.run(card.run_id))
        loss, eval_loss = tuple(thin_points(state.loss_points)), tuple(thin_points(state.eval_points))
    return ReportFacts(
        card=card,
        weights_sha256=adapters.weights_hash(card.path),
        base_licence=adapters.base_licence(card.base_model),
        release=release,
        evaluation={key: value for key, value in result.items() if key != "answers"} if result else None,
        feedback=summarise_feedback(ws, name),
        loss=loss,
        eval_loss=eval_loss,
    )


def save(ws: Workspace, name: str, html: str, markdown: str) -> tuple[Path, Path]:
    """Keep the report beside the adapter; the two files.

    Raises: NotFoundError.
    """
    folder = adapters.show(ws, name).path
    write_atomic(folder / HTML_FILE, html)
    write_atomic(folder / MARKDOWN_FILE, markdown)
    return folder / HTML_FILE, folder / MARKDOWN_FILE


def plain_settings(card: AdapterCard) -> list[tuple[str, str]]:
    """Every setting it was made with, without the paths of this machine."""
    return [
        row for section in _SECTIONS for row in _flatten(part(card.config, section), f"{section}.") if row[1]
    ]


def _flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif name not in _ELSEWHERE and value is not None:
            yield name, _show(name, value)


def _show(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return base_name(str(value)) if name == "model.base_model_name" else str(value)


def base_name(model: str) -> str:
    """A model's name; of a local folder its last part alone, since where it lies is nobody's business."""
    return short_name(model) if is_place(model) or model.startswith(".") else model
