"""How an evaluation looks: what is going on, and an adapter beside its base in figures and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medlora.services.evaluate import EvaluationView
from medlora.ui import present

_ROWS = (
    ("loss", "Loss on the answers", "lower is better"),
    ("perplexity", "Perplexity", "lower is better"),
    ("rouge_l", "Overlap with the reference answers (ROUGE-L)", "0 to 1"),
    ("choices", "Right choices", ""),
    ("mean_tokens", "Tokens an answer", ""),
    ("refers", "Sends the reader to a professional", ""),
    ("refused", "Refuses to answer", ""),
    ("deferred", "Questions that a chat would defer", ""),
    ("annotated", "Shown with a note", ""),
    ("withheld", "Withheld by the safety layer", ""),
    ("truncated", "Cut for length", ""),
)
_ENDS = {
    "stopped": "Stopped; there are no figures",
    "failed": "It could not be measured",
    "lost": "Its process ended without a word",
}


def show_progress(item: EvaluationView) -> str:
    """What an evaluation that goes on, or one that came to nothing, says of itself."""
    if item.going:
        words = f"Measuring {item.adapter}: {item.detail or 'starting'}"
        note = present.notice("info", "It is safe to close this tab", "The evaluation goes on by itself.")
        return present.progress(item.fraction, words) + note
    if item.status in _ENDS:
        why = " ".join(part for part in (item.reason, item.hint) if part)
        return present.notice("red" if item.status == "failed" else "amber", _ENDS[item.status], why)
    return ""


def show_figures(result: Mapping[str, Any]) -> str:
    """Base and adapter side by side, the most telling figures large."""
    dataset, base, adapter = result["dataset"], result["base"], result["adapter"]
    big = [
        ("Loss, base", present.number(base["loss"])),
        ("Loss, adapter", present.number(adapter["loss"])),
    ]
    if adapter.get("choices"):
        big += [("Right, base", _share(base["choices"])), ("Right, adapter", _share(adapter["choices"]))]
    elif adapter.get("rouge_l") is not None:
        big += [
            ("Overlap, base", present.number(base["rouge_l"], 2)),
            ("Overlap, adapter", present.number(adapter["rouge_l"], 2)),
        ]
    rows = [
        (f"{words} ({note})" if note else words, cell(base.get(key)), cell(adapter.get(key)))
        for key, words, note in _ROWS
        if adapter.get(key) is not None
    ]
    measured = (
        f"{present.count(dataset['rows'], 'row')} of {dataset['of']:,} {dataset['source']} "
        f"({dataset['name']}). In brackets: the 95 % Wilson interval."
    )
    return present.big_numbers(big) + present.table(("", "Base", "Adapter"), rows, measured, "ml-compare")


def show_drift(result: Mapping[str, Any]) -> str:
    """How often the rules for answers fired on the risky messages."""
    drift = result.get("drift")
    if not drift:
        return ""
    base, adapter = drift["base"], drift["adapter"]
    rules = sorted({*base["rules"], *adapter["rules"]})
    rows = [("Answers on which a rule fired", cell(base["fired"]), cell(adapter["fired"]))]
    rows += [
        (rule.replace("_", " "), str(base["rules"].get(rule, 0)), str(adapter["rules"].get(rule, 0)))
        for rule in rules
    ]
    told = f"{drift['prompts']} messages meant to tempt. The answers were counted and thrown away."
    return present.table(("", "Base", "Adapter"), rows, told, "ml-compare")


def show_answers(result: Mapping[str, Any]) -> str:
    """The adapter's best and worst answers, each with its question, reference and base's answer."""
    parts = []
    for key, title in (("best", "Nearest to the reference"), ("worst", "Farthest from it")):
        entries = result.get("answers", {}).get(key, [])
        if entries:
            parts.append(present.heading(title))
            parts += [_show_answer(entry) for entry in entries]
    return "".join(parts)


def _show_answer(entry: Mapping[str, Any]) -> str:
    lines = "".join(
        f"<dt>{label}</dt><dd>{present.text(entry[key]) or '(nothing)'}</dd>"
        for label, key in (("Reference", "reference"), ("Base", "base"), ("Adapter", "adapter"))
    )
    return (
        f'<details class="ml-answer"><summary>{present.text(entry["question"][:160])} '
        f"<small>line {entry['line']}, overlap {entry['rouge_l']:.2f}</small></summary>"
        f"<dl>{lines}</dl></details>"
    )


def cell(value: Any) -> str:
    """A figure, or a share with its interval."""
    if isinstance(value, Mapping):
        low, high = value["wilson_95"]
        if not value["total"]:
            return "–"
        return f"{value['hits']} of {value['total']} ({100 * low:.0f} to {100 * high:.0f} %)"
    return present.number(value)


def _share(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['value']:.0f} %"
