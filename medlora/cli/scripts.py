"""`script`: lists of prompts put to several speakers; run, shared as files, their votes counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.feedback import describe_standing, standing_document
from medlora.cli.output import JsonFlag, YesFlag, check_target, confirm, print_json, print_table
from medlora.cli.safety import read_config
from medlora.errors import RunFailedError, UserError
from medlora.services import script_files, script_sheets, scripts
from medlora.services.chat import ChatService
from medlora.services.configure import resolve_draft
from medlora.services.scripts import ScriptState, Seat
from medlora.services.served_seats import served_seat
from medlora.workspace import Workspace

commands = typer.Typer(help="Test scripts: prompts for several speakers.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(help="The script's id.")]
AdapterOption = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="NAME", help="Who answers; give several.")
]
ConfigOption = Annotated[
    str | None,
    typer.Option(help="The file that names the server; without it the configuration of the page does."),
]
BaseOption = Annotated[
    str | None, typer.Option("--base", help="A base model that answers alone, such as starter.")
]


def state_document(state: ScriptState) -> dict[str, Any]:
    """A script as `--json` prints it, without its prompts."""
    return {
        "script_id": state.script.script_id,
        "name": state.script.name,
        "created": state.script.created,
        "status": state.status,
        "done": state.done,
        "total": state.total,
        "speakers": [
            {"adapter": s.adapter, "base_model": s.base_model, "server": s.server or None}
            for s in state.script.seats
        ],
        "problem": state.script.problem or None,
    }


@commands.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Prompts: one a line, as text or as JSON with `prompt`.")],
    adapter: AdapterOption = None,
    base: BaseOption = None,
    served: Annotated[
        list[str] | None,
        typer.Option("--served", metavar="NAME", help="A model of the server that --config names."),
    ] = None,
    config: ConfigOption = None,
    name: Annotated[str | None, typer.Option(help="The script's name.")] = None,
    json: JsonFlag = False,
) -> None:
    """Make a script from a file of prompts; `script run` then runs it."""
    prompts = scripts.read_prompts(script_files.read_text(file))
    ws = Workspace.open()
    seats = _seats(adapter, base)
    if served:
        asked = read_config(config, None) or resolve_draft(ws)
        seats += [served_seat(asked, model) for model in served]
    made = scripts.create_script(ws, name or file.stem, prompts, seats)
    _print_state(scripts.read_state(ws, made.script_id), json)


def _seats(adapters: list[str] | None, base: str | None) -> list[Seat]:
    seats = [Seat(adapter=name) for name in adapters or ()]
    return [*seats, Seat(base_model=base)] if base else seats


@commands.command("list")
def list_scripts(json: JsonFlag = False) -> None:
    """List the scripts, newest first."""
    states = scripts.list_scripts(Workspace.open())
    if json:
        print_json([state_document(state) for state in states])
        return
    print_table(
        ("ID", "NAME", "STATUS", "ANSWERED", "CREATED"),
        [
            (s.script.script_id, s.script.name, s.status, f"{s.done} of {s.total}", s.script.created[:16])
            for s in states
        ],
    )


@commands.command("run")
def run(script_id: IdArgument, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Ask the prompts that were not asked yet. Ctrl-C stops it; run it again to go on."""
    ws = Workspace.open()
    service = ChatService(ws)
    try:
        state = scripts.run_script(ws, service, script_id, read_config(config, None))
    finally:
        service.close()
    _print_state(state, json)
    if state.status == "failed":
        raise RunFailedError(state.script.problem)


@commands.command("stop")
def stop(script_id: IdArgument, json: JsonFlag = False) -> None:
    """Stop a script that is running somewhere; its answers stay."""
    ws = Workspace.open()
    scripts.stop_script(ws, script_id)
    _print_state(scripts.read_state(ws, script_id), json)


@commands.command("votes")
def votes(script_id: IdArgument, json: JsonFlag = False) -> None:
    """Show how the speakers did against each other on a script."""
    ws = Workspace.open()
    found = script_sheets.script_standings(ws, scripts.read_state(ws, script_id).script)
    if json:
        print_json([standing_document(standing) for standing in found])
        return
    for standing in found:
        print(describe_standing(standing))
    if not found:
        print("no votes yet")


@commands.command("export")
def export(
    script_id: IdArgument,
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    answers: Annotated[
        bool, typer.Option("--answers", help="With its answers, to be judged elsewhere.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write a script to a file that can be shared."""
    ws = Workspace.open()
    script = scripts.read_state(ws, script_id).script
    check_target("--to", to)
    script_files.export_script(ws, script, to, with_answers=answers)
    if json:
        print_json({"file": to, "prompts": len(script.prompts), "answers": answers})
    else:
        print(to)


@commands.command("import")
def import_script(
    file: Annotated[Path, typer.Argument(help="A shared script.")],
    name: Annotated[str, typer.Option(help="Another name for it.")] = "",
    json: JsonFlag = False,
) -> None:
    """Add a script that somebody shared, with the answers it brings."""
    ws = Workspace.open()
    made = script_files.import_script(ws, file, name=name)
    _print_state(scripts.read_state(ws, made.script_id), json)


@commands.command("delete")
def delete(
    script_id: IdArgument,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete a script for good; answers that were rated or voted on stay with their rating."""
    if not yes:
        confirm("Delete the script for good?")
    ws = Workspace.open()
    if scripts.read_state(ws, script_id).going:
        raise UserError("script: it is running; stop it first")
    scripts.delete_script(ws, script_id)
    if json:
        print_json({"script_id": script_id, "deleted": True})
        return
    print(f"{script_id}: deleted")


def _print_state(state: ScriptState, as_json: bool) -> None:
    if as_json:
        print_json(state_document(state))
    else:
        print(f"{state.script.script_id}: {state.script.name}, {state.status}, {state.done} of {state.total}")
