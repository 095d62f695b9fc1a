"""`adapters`: list, show, export, delete."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json, print_table
from medlora.errors import UserError
from medlora.services import adapters
from medlora.workspace import Workspace

commands = typer.Typer(help="Published adapters.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The adapter's name.")]


@commands.command("list")
def list_adapters(json: JsonFlag = False) -> None:
    """Every adapter, newest first."""
    cards = adapters.list_adapters(Workspace.open())
    if json:
        print_json(cards)
        return
    print_table(
        ("NAME", "BASE", "DATASET", "STEPS", "LOSS", "EVAL", "STATUS"),
        [
            (c.name, c.base_model, c.dataset, c.steps, c.train_loss, c.eval_loss, c.problem or c.status)
            for c in cards
        ],
    )


@commands.command("show")
def show(name: NameArgument) -> None:
    """One adapter with its provenance, as JSON."""
    print_json(adapters.show(Workspace.open(), name))


@commands.command("export")
def export(
    name: NameArgument,
    to: Annotated[Path | None, typer.Option("--to", help="The zip file to write.")] = None,
) -> None:
    """A zip with weights, tokenizer, provenance and safety settings."""
    target = to or Path(f"{name}.zip")
    if target.exists():
        raise UserError(f"--to: the file exists (got {target}); name another one")
    made = adapters.export_zip(Workspace.open(), name)
    shutil.move(made, target)
    print(target)


@commands.command("delete")
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an adapter for good."""
    if not yes:
        typer.confirm(f"Delete adapter {name} for good?", abort=True)
    adapters.delete(Workspace.open(), name)
    print(f"{name}: deleted")
