"""`privacy`: how long data is kept, what is older, and its end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, confirm, print_json, print_table
from medlora.errors import UserError
from medlora.services import retention
from medlora.services.retention import Due
from medlora.workspace import Workspace

commands = typer.Typer(help="How long data is kept.", no_args_is_help=True)
Age = Annotated[
    int | None,
    typer.Option("--older-than", min=0, help="Days without use; else as `retention` says."),
]


@commands.command("retention")
def choose(
    days: Annotated[str | None, typer.Argument(help="Days after the last use, or `off`.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show or set how long datasets, runs and kept conversations stay after their last use."""
    ws = Workspace.open()
    chosen = retention.load(ws)
    if days is not None:
        if days != "off" and not days.isdecimal():
            raise UserError(f"days: must be a number of days or off (got {days!r}); for example 90")
        chosen = retention.save(ws, None if days == "off" else int(days))
    if json:
        print_json(chosen)
        return
    kept = f"for {chosen.days} days after their last use" if chosen.days else "until somebody removes them"
    print(f"datasets, runs and conversations are kept {kept}")


@commands.command("due")
def due(older_than: Age = None, json: JsonFlag = False) -> None:
    """List what nobody has used for longer than `retention` allows."""
    _print_due(retention.find_due(Workspace.open(), older_than), json)


@commands.command("purge")
def purge(
    older_than: Age = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking; for scripts.")] = False,
    json: JsonFlag = False,
) -> None:
    """Delete for good what `due` lists; adapters and active runs stay."""
    ws = Workspace.open()
    found = retention.find_due(ws, older_than)
    if not found:
        _print_due([], json)
        return
    if not yes:
        _print_due(found, False)
        confirm("Delete these for good?")
    gone = retention.purge(ws, older_than)
    if json:
        print_json([_row(item) for item in gone])
        return
    print(f"deleted: {len(gone)}")


def _print_due(found: list[Due], as_json: bool) -> None:
    if as_json:
        print_json([_row(item) for item in found])
    elif not found:
        print("nothing is older than it is to be kept")
    else:
        print_table(("KIND", "NAME", "DAYS UNUSED"), [(item.kind, item.name, item.days) for item in found])


def _row(item: Due) -> dict[str, object]:
    return {**asdict(item), "days": item.days}
