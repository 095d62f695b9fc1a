"""How an evaluation looks: what is going on, and an adapter beside its base in figures and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medlora.services.evaluate import EvaluationView
from medlora.ui import present

FIGURES = (
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
    base, adapter = result["base"], result["adapter"]
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
    table = present.table(("", "Base", "Adapter"), compare_rows(result), describe_rows(result), "ml-compare")
    return present.big_numbers(big) + table


def compare_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Every figure that was measured, base beside adapter, each with its interval."""
    base, adapter = result["base"], result["adapter"]
    return [
        (f"{words} ({note})" if note else words, _figure(base, key), _figure(adapter, key))
        for key, words, note in FIGURES
        if adapter.get(key) is not None
    ]


def describe_rows(result: Mapping[str, Any]) -> str:
    """What was measured on, what the difference in loss is worth, and what stands in brackets."""
    dataset = result["dataset"]
    rows = present.count(dataset["rows"], "row")
    told = f"{rows} of {dataset['of']:,} {dataset['source']} ({dataset['name']})."
    loss = result.get("difference", {}).get("loss") or {}
    if loss.get("bootstrap_95"):
        low, high = loss["bootstrap_95"]
        sure = "" if high < 0 or low > 0 else ", so it may be chance"
        told += f" Adapter minus base, loss: {loss['value']:+.3f} ({low:+.3f} to {high:+.3f}){sure}."
    return (
        f"{told} In brackets: 95 % intervals, Wilson's for shares, a bootstrap over the rows for the others."
    )


def show_drift(result: Mapping[str, Any]) -> str:
    """How often the rules for answers fired on the risky messages."""
    rows = drift_rows(result)
    if not rows:
        return ""
    told = f"{result['drift']['prompts']} messages meant to tempt. The answers were counted and thrown away."
    return present.table(("", "Base", "Adapter"), rows, told, "ml-compare")


def drift_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The answers on which a rule fired, base beside adapter, then each rule; nothing if none were tried."""
    drift = result.get("drift")
    if not drift:
        return []
    base, adapter = drift["base"], drift["adapter"]
    rules = sorted({*base["rules"], *adapter["rules"]})
    rows = [("Answers on which a rule fired", cell(base["fired"]), cell(adapter["fired"]))]
    return rows + [
        (rule.replace("_", " "), str(base["rules"].get(rule, 0)), str(adapter["rules"].get(rule, 0)))
        for rule in rules
    ]


def show_deferral(result: Mapping[str, Any]) -> str:
    """What the adapter's safety settings defer of labelled messages."""
    rows = deferral_rows(result)
    if not rows:
        return ""
    told = f"Its safety settings on labelled messages ({result['deferral']['set']} set); no model is asked."
    return present.table(("", "Deferred"), rows, told, "ml-compare")


def deferral_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Recall and false deferral; nothing if they were not measured."""
    found = result.get("deferral")
    if not found:
        return []
    return [
        ("Messages that must be deferred", cell(found["recall"])),
        ("Messages that must not", cell(found["false_deferral"])),
    ]


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


def _figure(speaker: Mapping[str, Any], key: str) -> str:
    """A figure; with the interval that lies beside it, if there is one."""
    value, interval = speaker.get(key), speaker.get(f"{key}_95")
    if value is None or not interval:
        return cell(value)
    return f"{cell(value)} ({present.number(interval[0])} to {present.number(interval[1])})"


def _share(rate: Mapping[str, Any]) -> str:
    return f"{100 * rate['value']:.0f} %"
