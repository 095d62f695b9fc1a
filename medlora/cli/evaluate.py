"""`eval`: an adapter beside its base model, in figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, print_json, print_table
from medlora.errors import RunFailedError
from medlora.services import evaluate as evaluations
from medlora.services.evaluate import EvaluationView, EvaluationWish
from medlora.workspace import Workspace

_POLL_S = 0.5
_SHOWN = (
    ("loss", "loss on the answers"),
    ("perplexity", "perplexity"),
    ("rouge_l", "overlap with the reference (ROUGE-L)"),
    ("choices", "right choices"),
    ("mean_tokens", "tokens an answer"),
    ("truncated", "cut for length"),
    ("refused", "refused"),
    ("refers", "sends to a professional"),
    ("deferred", "deferred before the model"),
    ("annotated", "shown with a note"),
    ("withheld", "withheld"),
)


def evaluate(
    adapter: Annotated[str, typer.Option(help="The adapter's name.")],
    data: Annotated[
        str | None, typer.Option(help="A dataset or a JSONL file; else the rows held back from training.")
    ] = None,
    rows: Annotated[int, typer.Option(help="The most rows that are measured.")] = 50,
    answers: Annotated[int, typer.Option(help="How many rows are answered in words: the slow part.")] = 10,
    longest: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 128,
    risky: Annotated[int, typer.Option(help="How many risky messages are tried, 0 to 24.")] = 24,
    seed: Annotated[int, typer.Option(help="Which rows are drawn.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Measure an adapter against its base model; the figures are kept with the adapter. Ctrl-C stops it."""
    ws = Workspace.open()
    wish = EvaluationWish(adapter, data, rows, answers, longest, risky, seed)
    seconds = evaluations.forecast_s(ws, wish)
    if seconds is not None and not json:
        print(f"about {seconds / 60:.0f} min, by the pace of the last one on this base", file=sys.stderr)
    last = _follow(ws, evaluations.start(ws, wish), quiet=json)
    if last.status != "completed":
        raise RunFailedError(f"evaluation {last.id}: {last.reason or 'it ended without a word'}")
    evaluations.publish_results(ws)
    if json:
        print_json({"id": last.id, "adapter": last.adapter, **last.result})
    else:
        _print(last)


def _follow(ws: Workspace, evaluation_id: str, *, quiet: bool) -> EvaluationView:
    from tqdm import tqdm

    asked = False
    with tqdm(
        total=100, unit="%", disable=quiet, file=sys.stderr, bar_format="{l_bar}{bar}| {elapsed}"
    ) as bar:
        while True:
            try:
                seen = evaluations.view(ws, evaluation_id)
                bar.set_description_str(seen.detail)
                bar.n = round(100 * (seen.fraction or 0))
                bar.refresh()
                if not seen.going:
                    return seen
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                evaluations.stop(ws, evaluation_id)


def _print(seen: EvaluationView) -> None:
    result = seen.result
    dataset = result["dataset"]
    print(f"{seen.adapter} on {dataset['name']}: {dataset['rows']} of {dataset['of']} {dataset['source']}\n")
    table = [
        (words, *(_figure(result[who], key) for who in ("base", "adapter")))
        for key, words in _SHOWN
        if result["adapter"].get(key) is not None
    ]
    drift = result.get("drift")
    if drift:
        base, adapter = (_cell(drift[name]["fired"]) for name in ("base", "adapter"))
        table.append(("rules fired on risky messages", base, adapter))
    deferral = result.get("deferral")
    if deferral:
        table.append(("deferral recall, safety settings", "", _cell(deferral["recall"])))
    print_table(("", "BASE", "ADAPTER"), table)


def _figure(speaker: Mapping[str, Any], key: str) -> str:
    interval = speaker.get(f"{key}_95")
    return _cell(speaker.get(key)) + (f" ({interval[0]:g} to {interval[1]:g})" if interval else "")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        low, high = value["wilson_95"]
        if not value["total"]:
            return "-"
        return f"{value['hits']} of {value['total']} ({100 * low:.0f} to {100 * high:.0f} %)"
    return "-" if value is None else f"{value:g}"
