"""Which column of a CSV file or a workbook is what: proposed by name, decided by the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.dataset.tables.columns import ROLES, Column, Role
from medlora.dataset.tables.convert import TableChoice, TableView
from medlora.errors import UserError
from medlora.services import tables
from medlora.ui import present
from medlora.ui.blocks import actions, card, row, words

_NONE = ("None of them", "")
_LABELS: dict[Role, tuple[str, str]] = {
    "question": ("Question", "What is asked."),
    "answer": ("Answer", "What the model should learn to say."),
    "context": ("Context (optional)", "Comes after the question, such as a text it is about."),
    "system": ("System prompt (optional)", "What the model is told before this one question."),
}
_LONGEST_CELL = 160
Update = Any
Progress = Callable[[float], None]


@dataclass(frozen=True)
class ColumnsCard:
    """The widgets. roles: one choice for each of `ROLES`, in that order. table: the uploaded file's path."""

    box: gr.Column
    title: gr.HTML
    sheet: gr.Dropdown
    header: gr.Number
    roles: tuple[gr.Dropdown, ...]
    preview: gr.HTML
    use: gr.Button
    forget: gr.Button
    table: gr.State

    @property
    def drawn(self) -> list[Any]:
        """What `draw_columns` redraws."""
        return [self.table, self.box, self.title, self.sheet, self.header, *self.roles, self.preview]

    @property
    def asked(self) -> list[Any]:
        """What `read_rows` takes."""
        return [self.table, self.sheet, self.header, *self.roles]


def draw_columns(path: Path, sheet: str | None = None, header_row: float | None = None) -> list[Update]:
    """A table's sheets, columns with their proposed roles, and its first rows."""
    view = tables.look(path, sheet or None, None if header_row is None else max(0, int(header_row)))
    choices = [(_name(column), column.letter) for column in view.columns]
    letters = {column.index: column.letter for column in view.columns}
    found = [letters.get(view.proposed[role], "") if role in view.proposed else "" for role in ROLES]
    return [
        str(path),
        gr.update(visible=True),
        present.heading(path.name, _say_found(view)) + _notices(view),
        gr.update(choices=list(view.sheets), value=view.sheet or None, visible=len(view.sheets) > 1),
        view.header_row,
        *(gr.update(choices=[_NONE, *choices], value=value) for value in found),
        show_rows(view),
    ]


def hide_columns(card: ColumnsCard) -> list[Update]:
    """Nothing to decide."""
    return [None, gr.update(visible=False), *[gr.skip()] * (len(card.drawn) - 2)]


def _name(column: Column) -> str:
    return f"{column.letter} · {column.name[:60]}" if column.name else column.letter


def _say_found(view: TableView) -> str:
    if {"question", "answer"} <= set(view.proposed):
        said = "Proposed by the columns' names; please look whether it is right."
    else:
        said = "The columns' names do not say it: which one holds the question, which the answer?"
    return f"{said} Columns without a role are left behind."


def _notices(view: TableView) -> str:
    return "".join(present.notice("info", notice) for notice in view.notices)


def show_rows(view: TableView) -> str:
    """The first rows below the header, as a table."""
    cells = [
        (row.number, *(_shorten(row.cell(column.index)) for column in view.columns)) for row in view.rows
    ]
    heads = ["Row", *(_name(column) for column in view.columns)]
    return present.table(heads, cells, caption=f"The first {present.count(len(cells), 'row')}")


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def read_rows(
    table: str | None, sheet: str | None, header: float | None, roles: tuple[str | None, ...], told: Progress
) -> tuple[Path, str]:
    """The converted file and its title.

    Raises: UserError when a column that is needed has not been chosen, or the table cannot be read.
    """
    if table is None:
        raise UserError("columns: there is no table; upload one first")
    chosen = {role: letter for role, letter in zip(ROLES, roles, strict=True) if letter}
    for role in ("question", "answer"):
        if role not in chosen:
            raise UserError(f"columns: {role}: no column has this role; choose one")
    path = Path(table)
    view = tables.look(path, sheet or None, int(header or 0))
    by_letter = {column.letter: column.index for column in view.columns}
    if not set(chosen.values()) <= set(by_letter):
        raise UserError("columns: the sheet has changed; choose the columns again")
    columns = {role: by_letter[letter] for role, letter in chosen.items()}
    choice = TableChoice(view.header_row, columns, view.sheet or None)
    return tables.convert_upload(path, choice, path.parent, told), tables.title_of(path, choice)


def build_columns_card() -> ColumnsCard:
    """Render the card, closed."""
    with card(visible=False, elem_id="data-columns") as box:
        title = words(elem_id="data-columns-title")
        with row():
            sheet = gr.Dropdown([], label="Sheet", visible=False, elem_id="data-sheet")
            header = gr.Number(
                1, label="Row with the columns' names", info="0 if there is none.", precision=0, minimum=0,
                maximum=1000, elem_id="data-header",
            )  # fmt: skip
        with row():
            roles = tuple(
                gr.Dropdown(
                    [_NONE], value="", label=_LABELS[role][0], info=_LABELS[role][1], elem_id=f"data-{role}"
                )
                for role in ROLES
            )
        preview = words(elem_id="data-columns-preview")
        with actions():
            use = gr.Button("Check these rows", variant="primary", elem_id="data-columns-use")
            forget = gr.Button("Forget this file", elem_id="data-columns-forget")
    return ColumnsCard(box, title, sheet, header, roles, preview, use, forget, gr.State(None))
