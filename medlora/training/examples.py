"""From a dataset file to rows of tokens, with a count of everything that was cut or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.config.plan import data_seed
from medlora.config.schema import Config
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.records import LoadedRecords, load_records
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.shapes import Record, with_system_prompt
from medlora.dataset.split import split
from medlora.errors import DataError
from medlora.training.collate import Example
from medlora.training.loss import IGNORED


@dataclass(frozen=True)
class Examples:
    """What a run learns from and is scored on.

    rows: lines in the file. truncated: rows cut to max_seq_length. left_out: rows not used, copies included.
    """

    train: list[Example]
    evaluation: list[Example]
    rows: int
    truncated: int
    left_out: int
    sha256: str
    notices: tuple[str, ...]

    @property
    def lengths(self) -> list[int]:
        return [len(example["input_ids"]) for example in self.train]

    @property
    def longest(self) -> int:
        """Tokens of the longest row, evaluation included."""
        return max(len(example["input_ids"]) for example in self.train + self.evaluation)


def prepare_examples(
    dataset: Mapping[str, Any], config: Config, tokenizer: ChatTokenizer, *, skip_bad_rows: bool
) -> Examples:
    """The rows of a run, split and encoded.

    Raises: DataError when the file is not the one that was checked, or rows are wrong and their loss was
    not accepted.
    """
    path = Path(dataset["path"])
    lengths = LengthSettings.from_config(config.model_dump())
    loaded = load_records(path, lengths, tokenizer, skip_bad_rows=skip_bad_rows)
    check_unchanged(dataset, path, loaded.sha256)
    encoder = _Encoder(config, tokenizer, skip_bad_rows)
    train, held_out = split(loaded.records, config.data.eval_dataset_size, data_seed(config))
    rows_train, rows_eval = encoder.encode(train), encoder.encode(held_out)
    if not rows_train:
        raise DataError(f"{path.name}: no row is left to train on; see the rows that were left out")
    return Examples(
        train=rows_train,
        evaluation=rows_eval,
        rows=loaded.rows,
        truncated=encoder.truncated,
        left_out=len(loaded.problems) + encoder.refused + _copies(loaded),
        sha256=loaded.sha256,
        notices=tuple(encoder.notices),
    )


def check_unchanged(dataset: Mapping[str, Any], path: Path, sha256: str) -> None:
    """Raises: DataError when the file is not the one that the run was made for."""
    if dataset.get("sha256") not in (None, sha256):
        raise DataError(
            f"{path.name}: the file changed since the run was made; start a new run with it as it is now"
        )


def _copies(loaded: LoadedRecords) -> int:
    return sum(not duplicate.near for duplicate in loaded.duplicates)


class _Encoder:
    """Encodes records and counts what became of them."""

    def __init__(self, config: Config, tokenizer: ChatTokenizer, skip_bad_rows: bool) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._skip_bad_rows = skip_bad_rows
        self.truncated = 0
        self.refused = 0
        self.notices: dict[str, None] = {}

    def encode(self, records: Sequence[Record]) -> list[Example]:
        examples = (self._encode(record) for record in records)
        return [example for example in examples if example is not None]

    def _encode(self, record: Record) -> Example | None:
        data = self._config.data
        messages = with_system_prompt(record.messages, self._config.safety.system_prompt)
        try:
            encoded = self._tokenizer.encode_record(
                messages, max_seq_length=data.max_seq_length, truncation=data.truncation
            )
        except DataError as error:
            if not self._skip_bad_rows:
                raise DataError(f"line {record.line}: {error}") from error
            self.refused += 1
            return None
        self.truncated += encoded.truncated
        self.notices.update(dict.fromkeys(encoded.notices))
        labels = [
            token if trained else IGNORED for token, trained in zip(encoded.ids, encoded.trained, strict=True)
        ]
        return {"input_ids": encoded.ids, "labels": labels}
