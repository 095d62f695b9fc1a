"""`safety`: screen a file, explain a message, score a labelled file, try other keywords."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, print_json, print_problems, print_table
from medlora.config.schema import Config
from medlora.errors import ConfigError, UserError
from medlora.safety.score import Rate
from medlora.services import configure, keyword_trial, safety
from medlora.workspace import Workspace

commands = typer.Typer(help="The safety layer.", no_args_is_help=True)
ConfigFlag = Annotated[str | None, typer.Option("--config", help="Take the safety settings of this file.")]


def safety_of(config: str | None) -> dict[str, Any] | None:
    """The safety settings of a configuration; None without one.

    Raises: ConfigError for a configuration with errors.
    """
    read = read_config(config)
    return read.safety.model_dump(mode="json") if read is not None else None


def read_config(config: str | None, sets: Sequence[str] | None = None) -> Config | None:
    """A configuration as it resolves, the default one where only settings are given; None without either.

    Raises: ConfigError for a configuration with errors.
    """
    if config is None and not sets:
        return None
    examined = configure.examine_file(Workspace.open(), config or "default", sets=sets or ())
    if examined.resolved is None:
        raise ConfigError(examined.problems)
    return examined.resolved.config


@commands.command("screen")
def screen(
    file: Annotated[str, typer.Argument(help="JSONL with id and text or turns; - reads from stdin.")] = "-",
    config: ConfigFlag = None,
    json: Annotated[bool, typer.Option("--json", help="What is printed is JSON Lines either way.")] = False,
) -> None:
    """Judge each line of a JSONL file: one JSON line each, in the same order; exit 2 if one is no message."""
    del json
    settings = safety_of(config)
    name = "input" if file == "-" else file
    wrong = False
    try:
        with nullcontext(sys.stdin) if file == "-" else Path(file).open(encoding="utf-8-sig") as lines:
            for result in safety.screen_lines(lines, settings, name=name):
                if isinstance(result, UserError):
                    wrong = True
                    print_problems([result])
                else:
                    print_json(result, one_line=True)
    except OSError as error:
        raise UserError(f"{name}: the file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{name}: this is not UTF-8 text; save it as UTF-8") from None
    if wrong:
        sys.exit(2)


@commands.command("explain")
def explain(
    text: Annotated[str, typer.Argument(help="A message.")],
    config: ConfigFlag = None,
    json: Annotated[bool, typer.Option("--json", help="What is printed is JSON either way.")] = False,
) -> None:
    """Explain how a message is judged and why, as JSON."""
    del json
    print_json(safety.explain(text, safety_of(config)))


@commands.command("cover")
def cover(json: JsonFlag = False) -> None:
    """Say what the safety layer covers and what it does not."""
    words = safety.describe_cover()
    if json:
        print_json({"text": words})
        return
    print(words)


@commands.command("score")
def score(
    file: Annotated[
        Path, typer.Argument(help='JSONL with id, text and label ("defer", "caution", "answer").')
    ],
    only: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Only rows with this, as voice=clinician.")
    ] = None,
    typos: Annotated[int, typer.Option(min=0, max=9, help="Typing slips to put into each message.")] = 0,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Score a labelled file: recall and false deferral with 95 % intervals, and every miss."""
    result = safety.score_file(
        Workspace.open(), file, safety_of(config), only=_read_fields(only or []), slips=typos
    )
    if json:
        print_json(result.as_dict())
        return
    rates = (
        ("recall", result.recall),
        ("false deferral", result.false_deferral),
        ("alarm rate, unlabelled", result.unlabelled),
    )
    by_level = ((f"deferred, {level}", rate) for level, rate in result.by_level.items())
    by_concept = ((f"recall, {concept}", rate) for concept, rate in result.by_concept.items())
    by_voice = ((f"recall, {voice}", rate) for voice, rate in result.by_voice.items())
    by_context = ((f"pairs told apart, {context}", rate) for context, rate in result.by_context.items())
    for name, rate in (*rates, *by_level, *by_concept, *by_voice, *by_context):
        print(f"{name:<34}{_shown(rate)}")
    for name, ratio in result.voice_ratios.items():
        print(f"{name.replace('_', ' '):<34}{ratio}")
    print(f"{'latency':<34}{', '.join(f'{name} {value} ms' for name, value in result.latency_ms.items())}")
    for miss in (*result.misses, *result.false_deferrals):
        print(f"miss: {miss.id}: wanted {miss.expected}, got {miss.got}: {' '.join(miss.text.split())[:120]}")


def _read_fields(written: list[str]) -> dict[str, str]:
    """The fields of `--only`.

    Raises: UserError for one without a value.
    """
    fields = dict(part.partition("=")[::2] for part in written)
    for name, value in fields.items():
        if not name or not value:
            raise UserError(f"--only: {name}: a field and its value are needed; write it as voice=clinician")
    return fields


def _shown(rate: Rate) -> str:
    if not rate.total:
        return "no such rows"
    low, high = rate.interval
    return f"{rate.value:.1%} ({rate.hits} of {rate.total}; 95 %: {low:.1%} to {high:.1%})"


@commands.command("what-if")
def what_if(
    defer: Annotated[list[str] | None, typer.Option(metavar="WORD", help="One more referral word.")] = None,
    caution: Annotated[list[str] | None, typer.Option(metavar="WORD", help="One more caution word.")] = None,
    without: Annotated[list[str] | None, typer.Option(metavar="WORD", help="A word to leave out.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Labelled JSONL; else the one kept on the page, else the shipped set.")
    ] = None,
    traffic: Annotated[
        str, typer.Option(help="A stored dataset's questions; else those of the sample.")
    ] = "",
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Try other keywords and see what would change; options may be repeated. Nothing is written."""
    before = keyword_trial.as_settings(safety_of(config))
    kept = {
        key: [word for word in (*before[key], *(more or ())) if word not in (without or ())]
        for key, more in (("safety_keywords", caution), ("defer_keywords", defer))
    }
    after = keyword_trial.with_keywords(before, kept["safety_keywords"], kept["defer_keywords"])
    result = keyword_trial.what_would_change(Workspace.open(), before, after, file, traffic=traffic)
    if json:
        print_json(result.as_dict())
        return
    _print_comparison(result)


def _print_comparison(result: keyword_trial.Comparison) -> None:
    print(f"{result.name}: {len(result.changes)} of {result.messages} messages would change")
    for name, before, after in (
        ("recall", result.before.recall, result.after.recall),
        ("false deferral", result.before.false_deferral, result.after.false_deferral),
    ):
        print(f"  {name:<16}{_shown(before)}\n  {'then':<16}{_shown(after)}")
    _print_changes(result.changes)
    traffic = result.traffic
    if traffic is not None:
        before_count, after_count = traffic.deferred
        print(
            f"{traffic.name}: {len(traffic.changes)} of {traffic.messages} would change; "
            f"deferred {before_count}, then {after_count}"
        )
        _print_changes(traffic.changes)


def _print_changes(changes: tuple[keyword_trial.Change, ...]) -> None:
    if changes:
        rows = [
            (change.id, change.before, change.after, change.verdict, " ".join(change.text.split())[:80])
            for change in changes
        ]
        print_table(("id", "now", "then", "", "message"), rows)
