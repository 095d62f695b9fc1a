"""How an adapter looks: a card among others, and where it stands on its way to a release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medlora.services.adapters import AdapterCard, base_licence
from medlora.services.release import Release
from medlora.services.report import base_name
from medlora.ui import present

_LONGEST_NOTE = 160


def show_state(release: Release) -> str:
    """The state in a few words; its sign says the same as its colour."""
    kind, sign = ("released", "✓") if release.state == "released" else ("draft", "○")
    return (
        f'<span class="ml-state ml-state-{kind}"><span aria-hidden="true">{sign}</span> '
        f"{present.text(release.words)}</span>"
    )


def show_card(
    item: AdapterCard, release: Release, result: Mapping[str, Any] | None = None, *, chosen: bool = False
) -> str:
    """One adapter as a card that can be pressed. result: the figures of its latest evaluation."""
    state = "" if item.problem else show_state(release)
    problem = present.notice("red", "It cannot be used", item.problem) if item.problem else ""
    told = [f"{_learned(item)}<br>{_made(item)}"]
    if item.notes:
        note = " ".join(item.notes.split())
        told.append(present.text(note[:_LONGEST_NOTE] + ("…" if len(note) > _LONGEST_NOTE else "")))
    name, kind = present.text(item.name), "ml-tile ml-chosen" if chosen else "ml-tile"
    button = f'<button type="button" aria-pressed="{str(chosen).lower()}">{name}</button>'
    return (
        f'<article class="{kind}" data-adapter="{name}">'
        f'<div class="ml-title"><h3>{button}</h3>{state}</div>{problem}'
        + "".join(f"<p>{line}</p>" for line in told)
        + present.big_numbers(_figures(item, result))
        + present.pills(_facts(item))
        + "</article>"
    )


def _learned(item: AdapterCard) -> str:
    if not item.dataset:
        return "Dataset unknown"
    rows = f", {present.count(item.rows_train, 'row')}" if item.rows_train else ""
    return f"Learned from {present.text(item.dataset)}{rows}"


def _made(item: AdapterCard) -> str:
    made = present.text(item.created[:16].replace("T", " "))
    stopped = f" · {present.text(item.status)}" if item.status and item.status != "completed" else ""
    return made + stopped + (" · imported" if item.imported else "")


def _figures(item: AdapterCard, result: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if result is not None:
        losses = [(who, result.get(who, {}).get("loss")) for who in ("base", "adapter")]
        return [(f"Loss, {who}", present.number(loss, 2)) for who, loss in losses]
    return [("Loss", present.number(item.train_loss, 2)), ("Eval loss", present.number(item.eval_loss, 2))]


def _facts(item: AdapterCard) -> list[str]:
    base = base_name(item.base_model)
    facts = [f"base {base}, {base_licence(item.base_model)}" if base else "base unknown"]
    if item.rank:
        facts.append(f"rank {item.rank}")
    if item.steps:
        facts.append(present.count(item.steps, "step"))
    return [*facts, f"{item.size_mib:.1f} MiB"]
