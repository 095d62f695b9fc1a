"""The command line's root: one Typer app, a module for each group of verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from medlora import __version__
from medlora.cli import (
    adapters,
    audit,
    chat,
    config,
    conversations,
    data,
    evaluate,
    feedback,
    machine,
    privacy,
    run_records,
    runs,
    scripts,
    users,
)
from medlora.cli.examples import show_examples

cli = typer.Typer(
    name="medlora",
    help="From a JSONL file to a LoRA adapter, tested behind a safety layer, on your own machine.",
    epilog="Each command has --help, with examples; most take --json. "
    "Exit codes: 0 done, 2 the input is wrong, 3 a run failed, 1 a bug.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(config.commands, name="config")
cli.add_typer(data.commands, name="data")
cli.add_typer(run_records.commands, name="runs")
cli.add_typer(audit.commands, name="safety")
cli.add_typer(adapters.commands, name="adapters")
cli.add_typer(users.commands, name="users")
cli.add_typer(privacy.commands, name="privacy")
cli.add_typer(feedback.commands, name="feedback")
cli.add_typer(conversations.commands, name="conversations")
cli.add_typer(scripts.commands, name="script")
cli.command("app")(machine.open_app)
cli.command("doctor")(machine.doctor)
cli.command("train")(runs.train)
cli.command("chat")(chat.chat)
cli.command("eval")(evaluate.evaluate)
show_examples(cli)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medlora {__version__}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Every verb of the page is here too; --json prints one JSON document."""
