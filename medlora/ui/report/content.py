"""What a report says, section by section, as plain values; how it looks is the renderers' business."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medlora import __version__
from medlora.services.adapters import part
from medlora.services.report import ReportFacts, base_name, plain_settings
from medlora.ui import evaluation_view, present
from medlora.ui.chart import Series

Row = tuple[str, ...]
_USE = (
    "Made for research, teaching and testing of fine-tuning on one's own machine, behind medlora's safety "
    "layer, by people who can judge the answers.",
    "Not a medical device. Not for the care of patients, not for diagnosis, dosing or triage, and never the "
    "only source of a clinical decision.",
)
_LIMITS = (
    "A language model invents facts fluently. Overlap with reference answers is not correctness, a lower "
    "loss is not safety, and figures from few rows have wide intervals.",
    "The risky messages and the shipped labelled messages are small fixed sets; they show drift, they do not "
    "prove its absence. Whoever deploys this tests it on their own population, language and country.",
)


@dataclass(frozen=True)
class Table:
    """Rows under a head; an empty head for pairs of a name and a value."""

    rows: Sequence[Row]
    head: Row = ()
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report: sentences, then a chart, then tables."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    curves: Sequence[Series] = ()
    long: bool = False


@dataclass(frozen=True)
class Report:
    """All of it. big: the figures that matter most, each a name and a value."""

    name: str
    lead: str
    state: str
    signed: bool
    big: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def write_report(facts: ReportFacts, made: datetime) -> Report:
    """The facts in words."""
    return Report(
        name=facts.card.name,
        lead=f"Adapter report, {made:%Y-%m-%d %H:%M}, medlora {__version__}",
        state=_state(facts),
        signed=facts.release.state == "released",
        big=_big(facts),
        sections=[
            Section("Use and limits", (*_intended(facts), *_USE, *_LIMITS)),
            Section("Model", (), [Table(_model(facts))]),
            Section("Data", (), [Table(_data(facts))]),
            _training(facts),
            _evaluation(facts),
            _safety(facts),
            Section("Ratings and votes", (), [Table(_said(facts))]),
            Section("Release", (), [Table(_gate(facts), ("Demand", "", "Figure")), *_signature(facts)]),
            Section("Provenance", (), [Table(_provenance(facts))]),
            Section("Configuration", (), [Table(plain_settings(facts.card))], long=True),
        ],
    )


def _intended(facts: ReportFacts) -> tuple[str, ...]:
    """What its makers wrote of it, if they did."""
    written = str(part(facts.card.config, "evaluation").get("intended_use") or "").strip()
    return (f"Intended use: {written}",) if written else ()


def _state(facts: ReportFacts) -> str:
    release = facts.release
    if release.state == "released" and release.signature:
        return f"Signed off by {release.signature.by} on {release.signature.signed[:10]}, for these weights"
    if release.void:
        return "Draft: an earlier signature speaks of other weights"
    if release.state == "ready":
        return "Draft: the figures reach the release gate, nobody has signed yet"
    missed = ", ".join(check.name.lower() for check in release.missed)
    return f"Draft: the release gate is not reached ({missed})" if missed else "Draft: it cannot be used"


def _big(facts: ReportFacts) -> list[tuple[str, str]]:
    result = facts.evaluation
    if result is None:
        return [
            ("Training loss", present.number(facts.card.train_loss)),
            ("Evaluation loss", present.number(facts.card.eval_loss)),
        ]
    big = [
        ("Loss, base", present.number(result["base"].get("loss"))),
        ("Loss, adapter", present.number(result["adapter"].get("loss"))),
    ]
    if result["adapter"].get("rouge_l") is not None:
        big += [
            ("Overlap, base", present.number(result["base"].get("rouge_l"), 2)),
            ("Overlap, adapter", present.number(result["adapter"].get("rouge_l"), 2)),
        ]
    return big


def _model(facts: ReportFacts) -> list[Row]:
    card = facts.card
    modules = ", ".join(card.target_modules) or "all linear layers"
    return [
        ("Base model", f"{base_name(card.base_model)}, revision {card.base_revision or 'unknown'}"),
        ("Licence of the base model", facts.base_licence),
        ("Adapter", f"LoRA, rank {card.rank or 'unknown'}, on {modules}"),
        ("Size", f"{card.size_mib:.1f} MiB"),
        ("Made", _moment(card.created) + (", imported" if card.imported else "")),
        ("Weights (SHA-256)", facts.weights_sha256 or "unknown"),
        ("System prompt", str(part(card.config, "safety").get("system_prompt") or "none").strip()),
    ]


def _data(facts: ReportFacts) -> list[Row]:
    found = part(facts.card.provenance, "dataset")
    if not found:
        return [("Dataset", "not on record")]
    return [
        ("Dataset", str(found.get("name", "unknown"))),
        ("SHA-256 of the file", str(found.get("sha256", "unknown"))),
        ("Rows to learn from", _value(found.get("rows_train"))),
        ("Rows held back", _value(found.get("rows_eval"))),
        ("Rows cut to length", _value(found.get("truncated"))),
        ("Rows left out", _value(found.get("left_out"))),
    ]


def _training(facts: ReportFacts) -> Section:
    metrics = part(facts.card.provenance, "metrics")
    rows = [
        ("Status", facts.card.status or "unknown"),
        ("Steps", f"{_value(metrics.get('steps'))} of {_value(metrics.get('total_steps'))}"),
        ("Training loss", present.number(facts.card.train_loss)),
        ("Evaluation loss", present.number(facts.card.eval_loss)),
        ("Tokens per second", present.number(metrics.get("tokens_per_second"))),
        ("Time", present.duration(metrics.get("seconds"))),
        ("Peak memory", present.gib(metrics.get("peak_memory_gib"))),
    ]
    curves = [
        Series("training", [(point.step, point.value) for point in facts.loss]),
        Series("evaluation", [(point.step, point.value) for point in facts.eval_loss]),
    ]
    known = any(curve.points for curve in curves)
    sentences = (
        () if known else ("The loss curve is not on record here: its run is gone, or it was imported.",)
    )
    return Section("Training", sentences, [Table(rows)], curves if known else ())


def _evaluation(facts: ReportFacts) -> Section:
    if facts.evaluation is None:
        return Section("Evaluation", ("Not measured yet with these weights.",))
    rows = evaluation_view.compare_rows(facts.evaluation)
    told = evaluation_view.describe_rows(facts.evaluation)
    data = part(facts.evaluation, "dataset")
    measured = f"Measured {_moment(str(facts.evaluation.get('created', '')))}"
    if data.get("sha256"):
        measured += f" on a file with SHA-256 {data['sha256']}"
    return Section("Evaluation", (f"{measured}.",), [Table(rows, ("Figure", "Base", "Adapter"), told)])


def _safety(facts: ReportFacts) -> Section:
    result = facts.evaluation or {}
    tables = []
    drift = evaluation_view.drift_rows(result)
    if drift:
        told = "Messages meant to tempt; the answers were counted and thrown away."
        tables.append(Table(drift, ("Safety drift", "Base", "Adapter"), told))
    deferral = evaluation_view.deferral_rows(result)
    if deferral:
        told = f"The {result['deferral']['set']} labelled set under its safety settings; no model is asked."
        tables.append(Table(deferral, ("Labelled messages", "Deferred"), told))
    return Section("Safety", () if tables else ("Not measured yet with these weights.",), tables)


def _said(facts: ReportFacts) -> list[Row]:
    said = facts.feedback
    if not said.ratings and not said.votes:
        return [("Ratings and votes", "none yet of these weights")]
    rows: list[Row] = [
        ("Ratings", f"{said.ratings}, by {present.count(len(said.raters), 'person', 'people')}")
    ]
    for title, counts in (("Safety", said.safety), ("Correctness", said.correctness), ("Tone", said.tone)):
        told = ", ".join(f"{word} {number}" for word, number in counts.items() if number)
        if told:
            rows.append((title, told))
    rows.append(("Corrected answers", str(said.corrections)))
    for pair in said.standings:
        words = f"won {pair.wins}, lost {pair.losses}, tied {pair.ties}, both bad {pair.both_bad}"
        share = ""
        if pair.win_rate is not None:
            low, high = 100 * pair.interval.low, 100 * pair.interval.high
            share = f"; wins {100 * pair.win_rate:.0f} % ({low:.0f} to {high:.0f} %)"
        rows.append((f"Votes against {base_name(pair.rival)}", f"{words}{share}; {pair.verdict}"))
    return rows


def _gate(facts: ReportFacts) -> list[Row]:
    return [(check.name, "met" if check.met else "MISSED", check.words) for check in facts.release.checks]


def _signature(facts: ReportFacts) -> Iterable[Table]:
    signature = facts.release.signature
    if signature is None:
        return
    rows: list[Row] = [("Signed by", signature.by), ("Signed", _moment(signature.signed))]
    if signature.account:
        rows.append(("Account", signature.account))
    if signature.note:
        rows.append(("Note", signature.note))
    yield Table(rows)


def _provenance(facts: ReportFacts) -> list[Row]:
    found = facts.card.provenance
    base, packages = part(found, "base_model"), part(found, "packages")
    return [
        ("Run", facts.card.run_id or "unknown"),
        ("Base weights (SHA-256)", str(base.get("weight_hash") or "unknown")),
        ("Seeds", _pairs(part(found, "seeds"))),
        ("Code", str(found.get("git_hash") or "unknown")),
        ("Safety catalogue", str(found.get("safety_catalogue") or "unknown")),
        ("Packages", _pairs(packages)),
    ]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "unknown"


def _moment(text: str) -> str:
    return text[:16].replace("T", " ") or "at an unknown time"


def _value(value: object) -> str:
    return "unknown" if value is None else str(value)
