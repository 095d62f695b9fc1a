"""`safety`: screen a file, explain a message, score a labelled file, verify the audit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, print_json
from medlora.errors import ConfigError, UserError
from medlora.safety.score import Rate
from medlora.services import configure, safety
from medlora.workspace import Workspace

commands = typer.Typer(help="The safety layer.", no_args_is_help=True)
ConfigFlag = Annotated[str | None, typer.Option("--config", help="Take the safety settings of this file.")]


def _settings(config: str | None) -> dict[str, Any] | None:
    if config is None:
        return None
    examined = configure.examine_file(Workspace.open(), config)
    if examined.resolved is None:
        raise ConfigError(examined.problems)
    return examined.resolved.config.safety.model_dump(mode="json")


@commands.command("screen")
def screen(
    file: Annotated[str, typer.Argument(help="JSONL with id and text or turns; - reads from stdin.")] = "-",
    config: ConfigFlag = None,
) -> None:
    """Judge each line of a JSONL file; one JSON line each, in the same order."""
    settings = _settings(config)
    if file == "-":
        for result in safety.screen_lines(sys.stdin, settings):
            print_json(result, one_line=True)
        return
    try:
        with Path(file).open(encoding="utf-8-sig") as lines:
            for result in safety.screen_lines(lines, settings):
                print_json(result, one_line=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: it cannot be read as UTF-8 text ({type(error).__name__})") from None


@commands.command("explain")
def explain(
    text: Annotated[str, typer.Argument(help="A message.")],
    config: ConfigFlag = None,
) -> None:
    """Why a message is judged as it is, as JSON."""
    print_json(safety.explain(text, _settings(config)))


@commands.command("score")
def score(
    file: Annotated[
        Path, typer.Argument(help='JSONL with id, text and label ("defer", "caution", "answer").')
    ],
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Recall and false deferral on a labelled file, with 95 % intervals and the misses."""
    result = safety.score_file(Workspace.open(), file, _settings(config))
    if json:
        print_json(result.as_dict())
        return
    rates = (
        ("recall", result.recall),
        ("false deferral", result.false_deferral),
        ("alarm rate, unlabelled", result.unlabelled),
    )
    by_level = ((f"deferred, {level}", rate) for level, rate in result.by_level.items())
    for name, rate in (*rates, *by_level):
        print(f"{name:<26}{_shown(rate)}")
    print(f"{'latency':<26}{', '.join(f'{name} {value} ms' for name, value in result.latency_ms.items())}")
    for miss in (*result.misses, *result.false_deferrals):
        print(f"miss: {miss.id}: wanted {miss.expected}, got {miss.got}")


def _shown(rate: Rate) -> str:
    if not rate.total:
        return "no such rows"
    low, high = rate.interval
    return f"{rate.value:.1%} ({rate.hits} of {rate.total}; 95 %: {low:.1%} to {high:.1%})"


@commands.command("verify")
def verify(json: JsonFlag = False) -> None:
    """Whether the audit log is whole; exit 2 if it was changed."""
    report = safety.verify_audit(Workspace.open())
    if json:
        print_json(report)
    elif report.ok:
        print(f"The audit log is whole: {report.entries} entries.")
    if not report.ok:
        for problem in report.problems:
            print(problem, file=sys.stderr)
        sys.exit(2)
