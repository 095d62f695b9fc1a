"""`config`: list templates, show, validate, estimate, fit to this device."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, SetFlag, print_json, print_problems, print_table
from medlora.config.resolve import Resolved
from medlora.config.source import read_text
from medlora.errors import ConfigError, UserError
from medlora.services import configure
from medlora.services.configure import Examination
from medlora.services.fitting import describe_fit, fit_device
from medlora.workspace import Workspace, write_atomic

commands = typer.Typer(help="Configurations and templates.", no_args_is_help=True)
FileArgument = Annotated[str, typer.Argument(help="A YAML file, or a template's name.")]


@commands.command("list")
def list_templates(json: JsonFlag = False) -> None:
    """List the templates and whom each is for."""
    templates = configure.list_templates(Workspace.open())
    if json:
        print_json(
            [{"name": t.name, "title": t.title, "audience": t.audience, "kind": t.kind} for t in templates]
        )
        return
    print_table(("NAME", "TITLE", "FOR"), [(t.name, t.title, t.audience) for t in templates])


@commands.command("show")
def show(
    file: FileArgument,
    sets: SetFlag = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show where each value comes from.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show every setting as a run would use it."""
    examined = configure.examine_file(Workspace.open(), file, sets=sets or ())
    resolved = _resolved(examined)
    print_problems(examined.notices)
    if json:
        document: dict[str, Any] = {"config": resolved.config.model_dump(mode="json")}
        if explain:
            document["origin"] = resolved.origins
        print_json(document)
    elif explain:
        print_table(("KEY", "VALUE", "FROM"), [(r.key, r.value, r.origin) for r in examined.origins])
    else:
        print(examined.resolved_text, end="")


@commands.command("validate")
def validate(file: FileArgument, sets: SetFlag = None, json: JsonFlag = False) -> None:
    """List every problem of a configuration with its line; exit 2 if there is one."""
    examined = configure.examine_file(Workspace.open(), file, sets=sets or ())
    if json:
        found = [{"where": p.where, "key": p.key, "message": p.message} for p in examined.problems]
        notices = [{"where": p.where, "key": p.key, "message": p.message} for p in examined.notices]
        print_json({"ok": examined.ok, "problems": found, "notices": notices})
    print_problems(examined.problems)
    if not examined.ok:
        sys.exit(2)
    if not json:
        for notice in examined.notices:
            print(f"notice: {notice}")
        print("valid")


@commands.command("estimate")
def estimate(file: FileArgument, sets: SetFlag = None, json: JsonFlag = False) -> None:
    """Forecast the memory of a run, by part, and whether it fits this device."""
    ws = Workspace.open()
    resolved = _resolved(configure.examine_file(ws, file, sets=sets or ()))
    forecast = configure.estimate(ws, resolved.config, wait=True)
    device = forecast.device
    if json:
        print_json(
            {
                "total_gib": forecast.total_gib,
                "parts": forecast.parts,
                "device": {
                    "kind": device.kind,
                    "total_gib": device.total_gib,
                    "free_gib": device.free_gib,
                },
                "fits": forecast.fits,
                "source": forecast.source,
                "trainable_parameters": forecast.trainable_parameters,
            }
        )
        return
    print_table(("PART", "GIB"), [*((k, f"{v:.2f}") for k, v in forecast.parts.items())])
    print(f"total {forecast.total_gib:.2f} GiB; {device.kind} has {device.free_gib} GiB free")
    print({"traced": "From a trace of this model.", "counted": "Counted by formula."}[forecast.source])
    print({True: "It fits.", False: "It may not fit.", None: "Whether it fits is not known."}[forecast.fits])


@commands.command("fit")
def fit(
    file: FileArgument,
    apply: Annotated[bool, typer.Option("--apply", help="Write the changes into the file.")] = False,
    json: JsonFlag = False,
) -> None:
    """Propose the smallest change that makes a run fit this device's memory, as a diff of the file."""
    ws = Workspace.open()
    path = configure.find_config_file(ws, file)
    found = fit_device(ws, read_text(path, str(path)), name=str(path))
    if apply and found.changes:
        if path.resolve().parent == ws.shipped_configs.resolve():
            raise UserError(f"{path.name}: a shipped template stays as it is; copy it, then fit the copy")
        write_atomic(path, found.text)
    if json:
        print_json(
            {
                "fits": found.fits,
                "changes": [{"key": c.key, "before": c.before, "after": c.after} for c in found.changes],
                "before_gib": found.before.total_gib,
                "after_gib": found.after.total_gib,
                "free_gib": found.after.device.free_gib,
                "diff": found.diff,
                "applied": apply and bool(found.changes),
            }
        )
        return
    if found.diff:
        print(found.diff)
    print(describe_fit(found))


def _resolved(examined: Examination) -> Resolved:
    """Raises: ConfigError with every problem."""
    if examined.resolved is None or examined.problems:
        raise ConfigError(examined.problems)
    return examined.resolved
