"""`data`: check a file, import it, list and remove datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.output import (
    JsonFlag,
    SetFlag,
    YesFlag,
    confirm_at_terminal,
    print_json,
    print_problems,
    print_table,
)
from medlora.cli.personal import RedactFlag, RightsFlag, decide, tell_undecided
from medlora.cli.tables import import_table
from medlora.config.schema import Config
from medlora.dataset.check import CheckReport
from medlora.errors import ConfigError, UserError
from medlora.services import configure, data, erasure
from medlora.services.data import AddOptions
from medlora.workspace import Workspace

commands = typer.Typer(help="Datasets.", no_args_is_help=True)
commands.command("import")(import_table)
_SHOWN = 50


@commands.command("check")
def check(
    file: Annotated[str, typer.Argument(help="A JSONL file, or a dataset's name.")],
    config: Annotated[str, typer.Option(help="The configuration whose limits and model count.")] = "starter",
    sets: SetFlag = None,
    json: JsonFlag = False,
) -> None:
    """Check every line; exit 2 if a row is wrong."""
    ws = Workspace.open()
    report = data.check_dataset(ws, file, _load_config(ws, config, sets))
    if json:
        print_json(_document(report))
    else:
        _print_report(report)
    if report.errors or not report.valid:
        sys.exit(2)


def _load_config(ws: Workspace, name: str, sets: list[str] | None) -> Config:
    examined = configure.examine_file(ws, name, sets=sets or ())
    if examined.resolved is None:
        raise ConfigError(examined.problems)
    return examined.resolved.config


def _document(report: CheckReport) -> dict[str, Any]:
    tokens = report.tokens
    return {
        "rows": report.rows,
        "valid": report.valid,
        "usable": report.usable,
        "shape": report.shape,
        "sha256": report.sha256,
        "problems": [
            {"line": p.line, "kind": p.kind, "message": p.message, "severity": p.severity}
            for p in report.problems
        ],
        "duplicates": [{"line": d.line, "of": d.of, "near": d.near} for d in report.duplicates],
        "phi": [{"line": f.line, "field": f.field, "kind": f.kind, "masked": f.masked} for f in report.phi],
        "phi_rows": report.phi_rows,
        "tokens": None
        if tokens is None
        else {
            "p50": tokens.p50,
            "p95": tokens.p95,
            "max": tokens.max,
            "truncated": tokens.truncated,
            "estimated": tokens.estimated,
        },
        "notices": report.notices,
        "unit": report.unit,
    }


def _print_report(report: CheckReport) -> None:
    shape = f"; shape: {report.shape}" if report.shape else ""
    print(f"rows: {report.rows}; sound: {report.valid}; used for training: {report.usable}{shape}")
    if report.tokens is not None:
        t = report.tokens
        about = " (estimated)" if t.estimated else ""
        lengths = f"median {t.p50}, 95th percentile {t.p95}, longest {t.max}"
        print(f"tokens in a row{about}: {lengths}; cut: {t.truncated}")
    for notice in report.notices:
        print(f"notice: {notice}")
    left_out = [p for p in report.problems if p.severity != "error"]
    for problem in left_out[:_SHOWN]:
        print(f"left out: {problem}")
    for copy in report.duplicates[:_SHOWN]:
        nearly = "nearly " if copy.near else ""
        print(f"{report.unit} {copy.line}: {nearly}the same as {report.unit} {copy.of}")
    for finding in report.phi[:_SHOWN]:
        place = f"{report.unit} {finding.line}: {finding.field}"
        print(f"{place}: may be personal data: {finding.kind}: {finding.masked}")
    listed = (("left out", len(left_out)), ("copies", len(report.duplicates)), ("findings", len(report.phi)))
    for name, found in listed:
        if found > _SHOWN:
            print(f"… and {found - _SHOWN} more {name}; --json lists all")
    print_problems(report.errors)


@commands.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="A JSONL file.")],
    name: Annotated[str | None, typer.Option(help="The dataset's name; a taken one gets -2.")] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Accept that rows with problems are left out.")
    ] = False,
    redact: RedactFlag = False,
    have_rights: RightsFlag = False,
    json: JsonFlag = False,
) -> None:
    """Import a JSONL file; the original stays where it is."""
    phi = decide(redact, have_rights)
    options = AddOptions(
        name=name,
        skip_bad_rows=skip_bad_rows,
        phi=phi,
    )
    card = data.add_dataset(Workspace.open(), file, options)
    if json:
        print_json(card)
        return
    print(f"{card.name}: {card.usable} of {card.rows} rows are used for training; shape: {card.shape}")
    tell_undecided(card)


@commands.command("list")
def list_datasets(json: JsonFlag = False) -> None:
    """List the imported datasets, newest first."""
    cards = data.list_datasets(Workspace.open())
    if json:
        print_json(cards)
        return
    print_table(
        ("NAME", "ROWS", "USED", "SHAPE", "ADDED"),
        [(card.name, card.rows, card.usable, card.shape, card.created[:16]) for card in cards],
    )


@commands.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The dataset's name.")],
    everything: Annotated[
        bool, typer.Option("--everything", help="Also its runs, its adapters, and copies of its rows.")
    ] = False,
    keep_adapters: Annotated[
        bool, typer.Option("--keep-adapters", help="With --everything: adapters stay.")
    ] = False,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete a dataset for good; with --everything, all that was made from it too."""
    if keep_adapters and not everything:
        raise UserError("--keep-adapters: it goes with --everything; without that, adapters stay anyway")
    ws = Workspace.open()
    more = ", with all that was made from it," if everything else ""
    confirm_at_terminal(f"Delete {name}{more} for good?", yes)
    if not everything:
        data.remove_dataset(ws, name)
        print_json({"name": name}) if json else print(f"{name}: removed")
        return
    held = erasure.erase_dataset(ws, name, keep_adapters=keep_adapters)
    if json:
        print_json(held)
        return
    print(f"{name}: removed, with {len(held.runs)} runs")
    verb = "kept; they may have learned sentences by heart" if keep_adapters else "removed"
    if held.adapters:
        print(f"adapters {verb}: {', '.join(held.adapters)}")
    if held.copies:
        print(f"the same rows are also stored as: {', '.join(held.copies)}")
