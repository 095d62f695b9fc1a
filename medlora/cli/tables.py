"""`data import`: a CSV file or a workbook, by the roles of its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json, print_table
from medlora.cli.personal import RedactFlag, RightsFlag, decide, tell_undecided
from medlora.dataset.tables.convert import TableView
from medlora.errors import UserError
from medlora.services import data, tables
from medlora.services.data import AddOptions
from medlora.services.tables import Reading
from medlora.workspace import Workspace


def import_table(
    file: Annotated[Path, typer.Argument(help="A CSV file or an Excel workbook (.xlsx).")],
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="ROLE=COLUMN",
            help="question, answer, context or system, and the column's header or letter; may be given "
            "several times. Without it, the headers decide.",
        ),
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="The workbook's sheet; else the first.")] = None,
    header_row: Annotated[
        int | None, typer.Option(min=0, help="The row with the columns' names; 0 for none. Else looked for.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show sheets, columns and the first rows; import nothing.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The dataset's name; a taken one gets -2.")] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Accept that rows with problems are left out.")
    ] = False,
    redact: RedactFlag = False,
    have_rights: RightsFlag = False,
    json: JsonFlag = False,
) -> None:
    """Import a CSV file or an Excel workbook; columns without a role are left out."""
    phi = decide(redact, have_rights)
    if preview:
        _show(tables.look(file, sheet, header_row), as_json=json)
        return
    ws = Workspace.open()
    choice = tables.choose(file, Reading(_read_roles(roles or []), sheet, header_row))
    converted = tables.convert_upload(file, choice, ws.uploads)
    options = AddOptions(
        name=name or file.stem,
        title=tables.title_of(file, choice),
        skip_bad_rows=skip_bad_rows,
        phi=phi,
    )
    try:
        card = data.add_dataset(ws, converted, options)
    finally:
        tables.drop_converted(converted)
    if json:
        print_json(card)
        return
    print(f"{card.name}: {card.usable} of {card.rows} rows, {tables.describe(card.table)}")
    tell_undecided(card)


def _read_roles(given: list[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for text in given:
        role, sign, column = text.partition("=")
        if not sign or not column.strip():
            raise UserError(f"--map: must be ROLE=COLUMN (got {text!r}); for example question=B")
        if role in roles:
            raise UserError(f"--map: the role {role} is given twice; give it once")
        roles[role] = column
    return roles


def _show(view: TableView, *, as_json: bool) -> None:
    proposed = {index: role for role, index in view.proposed.items()}
    if as_json:
        print_json(
            {
                "kind": view.kind,
                "sheets": list(view.sheets),
                "sheet": view.sheet,
                "header_row": view.header_row,
                "columns": [
                    {"column": c.letter, "name": c.name, "proposed": proposed.get(c.index)}
                    for c in view.columns
                ],
                "rows": [
                    {"row": row.number, "cells": {c.letter: row.cell(c.index) for c in view.columns}}
                    for row in view.rows
                ],
                "notices": view.notices,
            }
        )
        return
    if view.sheets:
        print(f"sheet {view.sheet!r} of {', '.join(map(repr, view.sheets))}; names in row {view.header_row}")
    for notice in view.notices:
        print(f"notice: {notice}")
    columns = ((c.letter, c.name, proposed.get(c.index, ""), _first(view, c.index)) for c in view.columns)
    print_table(("COLUMN", "NAME", "ROLE", "FIRST ROW"), [*columns])


def _first(view: TableView, index: int) -> str:
    text = " ".join(view.rows[0].cell(index).split()) if view.rows else ""
    return text if len(text) <= 60 else text[:59] + "…"
