"""`runs`, further: compare, note, export, reproduce."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, check_target, print_json, print_table
from medlora.cli.runs import IdArgument, commands, finish, follow
from medlora.services import run_records
from medlora.services import train as training
from medlora.workspace import Workspace

__all__ = ["commands"]


@commands.command("compare")
def compare(
    run_ids: Annotated[list[str], typer.Argument(help="Two to six runs.")], json: JsonFlag = False
) -> None:
    """Put runs side by side: their results, and the settings in which they differ."""
    found = run_records.compare(Workspace.open(), run_ids)
    if json:
        print_json(found)
        return
    header = ("", *(run.adapter for run in found.runs))
    results = [(key, *(_cell(run.results[key]) for run in found.runs)) for key in found.runs[0].results]
    settings = [(key, *map(_cell, values)) for key, values in found.differences.items()]
    print_table(header, [("run", *(run.run_id for run in found.runs)), *results, *settings])


@commands.command("note")
def note(
    run_id: IdArgument,
    text: Annotated[str | None, typer.Argument(help="The note; empty removes it.")] = None,
    json: JsonFlag = False,
) -> None:
    """Write a note about a run, or read it."""
    ws = Workspace.open()
    if text is not None:
        run_records.write_note(ws, run_id, text)
    noted = run_records.read_note(ws, run_id)
    if json:
        print_json({"run_id": training.view(ws, run_id).run_id, "note": noted})
        return
    print(noted)


@commands.command("export")
def export(
    run_id: IdArgument,
    to: Annotated[Path | None, typer.Option("--to", help="The zip file to write.")] = None,
    json: JsonFlag = False,
) -> None:
    """Write a zip of a run's record: settings, events, log, note. No weights, no rows."""
    if to is not None:
        check_target("--to", to)
    made = run_records.export_record(Workspace.open(), run_id)
    target = check_target("--to", to or Path(made.name))
    shutil.move(made, target)
    if json:
        print_json({"file": target})
        return
    print(target)


@commands.command("reproduce")
def reproduce(
    run_id: IdArgument,
    name: Annotated[str | None, typer.Option("--name", help="The new adapter's name.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on.")] = False,
    json: JsonFlag = False,
) -> None:
    """Repeat a run from its record, and say whether the adapter came out the same to the last bit."""
    ws = Workspace.open()
    again = run_records.reproduce(ws, run_id, adapter_name=name)
    if detach:
        print_json({"run_id": again, "status": training.view(ws, again).status}, one_line=True)
        return
    ended = follow(ws, again, quiet=json)
    extra = {"reproduces": training.view(ws, run_id).run_id}
    finish(ended, one_line=True, extra={**extra, "identical": run_records.equals_original(ws, run_id, again)})


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
