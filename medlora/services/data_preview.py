"""One record as the model will see it, what it learns from marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medlora.config.schema import Config
from medlora.dataset import store
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.lines import LineFile
from medlora.dataset.records import RecordReader
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.rows import RowUnit
from medlora.dataset.shapes import Record, Turn, with_system_prompt
from medlora.errors import UserError
from medlora.services import data, tables
from medlora.workspace import Workspace


@dataclass(frozen=True)
class RecordPreview:
    """One record as the model sees it. segments: pieces of text, each with whether it is trained on.

    unit: what `line` counts; the rows of the sheet that the file was converted from.
    """

    line: int
    segments: list[tuple[str, bool]]
    tokens: int | None
    truncated: bool
    notices: tuple[str, ...]
    unit: RowUnit = "line"


def preview(ws: Workspace, source: data.Source, number: int, config: Config | None = None) -> RecordPreview:
    """The usable record with that number, counted from 1.

    Raises: UserError when there is no such record.
    """
    path, card = store.find_source(ws, source)
    unit: RowUnit = "row" if tables.origin_of(path, card) else "line"
    config = config or Config()
    tokenizer = data.find_tokenizer(ws, config)
    record = _nth_record(path, number, data.length_settings(config), tokenizer)
    turns = with_system_prompt(record.messages, config.safety.system_prompt)
    if tokenizer is None:
        notice = "The model is not at hand yet: shown without its chat template."
        return RecordPreview(record.line, _plain_segments(turns), None, False, (notice,), unit)
    limit = config.data.max_seq_length
    encoded = tokenizer.encode_record(turns, max_seq_length=limit)
    segments = tokenizer.segments(turns, max_seq_length=limit)
    return RecordPreview(record.line, segments, len(encoded.ids), encoded.truncated, encoded.notices, unit)


def _nth_record(path: Path, number: int, lengths: LengthSettings, tokenizer: ChatTokenizer | None) -> Record:
    seen = 0
    with LineFile(path) as file:
        for record in RecordReader(lengths, tokenizer).read(file):
            seen += 1
            if seen == number:
                return record
    raise UserError(f"record: there is no usable record {number} (there are {seen})")


def _plain_segments(turns: tuple[Turn, ...]) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    for turn in turns:
        pieces += [(f"{turn.role}: ", False), (turn.content, turn.role == "assistant"), ("\n\n", False)]
    return pieces[:-1]
