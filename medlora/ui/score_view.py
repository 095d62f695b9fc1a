"""How figures over labelled messages look: rates with intervals, by level and concept, and the misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medlora.ui import present
from medlora.ui.present import count, text
from medlora.ui.safety_view import show_level

if TYPE_CHECKING:
    from medlora.safety.score import Rate, Score
    from medlora.services.keyword_trial import Change, Comparison

SHOWN_MISSES = 100
SHOWN_CHANGES = 60


def show_score(score: Score, name: str) -> str:
    """Every figure over a labelled file."""
    figures = present.big_numbers(
        [
            ("Recall", *_figure(score.recall, "to be deferred")),
            ("False deferral", *_figure(score.false_deferral, "harmless")),
            ("Alarm rate", *_figure(score.unlabelled, "unlabelled")),
        ]
    )
    aside = f'<p class="ml-small">{text(_describe(score, name))}</p>'
    missed = [*score.misses, *score.false_deferrals]
    if missed:
        rows = [(miss.line, miss.expected, miss.got, miss.text[:240]) for miss in missed[:SHOWN_MISSES]]
        more = f"; the first {SHOWN_MISSES}" if len(missed) > SHOWN_MISSES else ""
        caption = f"{count(len(missed), 'message')} judged otherwise than labelled{more}."
        told = present.table(("Line", "Wanted", "Judged", "Message"), rows, caption=caption)
    else:
        told = present.notice("info", "No miss", "Every message was judged as it is labelled.")
    levels = _rates("By level", "deferred", score.by_level)
    concepts = _rates("By concept", "recall", score.by_concept)
    voices = _rates("By voice", "recall", score.by_voice)
    return f'<div class="ml-stack">{figures}{aside}{told}{levels}{concepts}{voices}</div>'


def _describe(score: Score, name: str) -> str:
    judged = score.recall.total + score.false_deferral.total + score.unlabelled.total + score.either_way
    either = f", {score.either_way:,} of them right either way" if score.either_way else ""
    p99 = score.latency_ms.get("p99")
    speed = f" 99 of 100 took less than {p99:.1f} ms." if p99 is not None else ""
    return f"{name}: {count(judged, 'message')}{either}.{speed}"


def _rates(title: str, what: str, rates: Mapping[str, Rate]) -> str:
    if not rates:
        return ""
    weakest = sorted(rates.items(), key=lambda pair: (pair[1].value, pair[0])) if what == "recall" else None
    rows = [
        (name.replace("_", " "), f"{rate.value:.0%}", f"{rate.hits} of {rate.total}", _interval(rate))
        for name, rate in weakest or rates.items()
    ]
    table = present.table((title.removeprefix("By ").capitalize(), what.capitalize(), "", "95 %"), rows)
    return f'<details class="ml-more"><summary>{text(title)}</summary>{table}</details>'


def _interval(rate: Rate) -> str:
    low, high = rate.interval
    return f"{low:.0%} to {high:.0%}"


def _figure(rate: Rate, what: str) -> tuple[str, str]:
    if not rate.total:
        return "–", "no such message"
    return f"{rate.value:.0%}", f"{rate.hits} of {rate.total} {what}; 95 %: {_interval(rate)}"


# Other keywords


def show_comparison(result: Comparison) -> str:
    """What other keywords would change, on labelled messages and on traffic."""
    traffic = result.traffic
    sentences = [_sum_up(result)]
    parts = [_changes(result.changes, labelled=True)]
    if traffic is not None:
        was, would = traffic.deferred
        sentences.append(
            f"On {traffic.name}, {count(len(traffic.changes), 'answer')} of {traffic.messages:,} would "
            f"change: {was} are deferred now, {would} would be."
        )
        parts.append(_changes(traffic.changes, labelled=False))
    figures = present.big_numbers(
        [
            ("Recall", *_shift(result.before.recall, result.after.recall)),
            ("False deferral", *_shift(result.before.false_deferral, result.after.false_deferral)),
            *([("Deferred traffic", *_counts(*traffic.deferred, traffic.messages))] if traffic else []),
        ]
    )
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in sentences)
    return f'<div class="ml-stack">{figures}<div class="ml-words">{words}</div>{"".join(parts)}</div>'


def _sum_up(result: Comparison) -> str:
    better = sum(change.verdict == "better" for change in result.changes)
    worse = sum(change.verdict == "worse" for change in result.changes)
    told = f"On {result.name}, {count(len(result.changes), 'answer')} of {result.messages:,} would change"
    return f"{told}: {better} for the better, {worse} for the worse." if result.changes else f"{told}."


def _shift(before: Rate, after: Rate) -> tuple[str, str]:
    if not after.total:
        return "–", "no such message"
    was = "as now" if before == after else f"now {before.value:.1%}"
    return f"{after.value:.1%}", f"{was}; 95 %: {_interval(after)}"


def _counts(before: int, after: int, total: int) -> tuple[str, str]:
    was = "as now" if before == after else f"now {before}"
    return str(after), f"{was}; of {total:,} questions"


def _changes(changes: Sequence[Change], *, labelled: bool) -> str:
    if not changes:
        return ""
    rows = "".join(_change(change) for change in changes[:SHOWN_CHANGES])
    which = "labelled messages" if labelled else "questions"
    more = f"; the first {SHOWN_CHANGES}" if len(changes) > SHOWN_CHANGES else ""
    title = f"Which {which} ({len(changes)}{more})"
    return (
        f'<details class="ml-more" {"open" if len(changes) <= 12 else ""}><summary>{text(title)}</summary>'
        f'<ul class="ml-changes">{rows}</ul></details>'
    )


def _change(change: Change) -> str:
    verdict = {"better": "better", "worse": "worse"}.get(change.verdict, "")
    label = f' <span class="ml-small">as labelled: {verdict}</span>' if verdict else ""
    because = (
        f' <span class="ml-small">“{text("”, “".join(change.because))}”</span>' if change.because else ""
    )
    arrow = f'{show_level(change.before)} <span aria-label="becomes">→</span> {show_level(change.after)}'
    return f"<li><div>{arrow}{because}{label}</div><p>{text(change.text[:240])}</p></li>"
