"""Training and evaluation rows: seeded, and the same on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from medlora.dataset.duplicates import digest_turns
from medlora.dataset.shapes import Record


def count_eval_rows(rows: int, size: float) -> int:
    """How many rows are held out: a share below 1, or a number of rows.

    At least one when anything is asked for, and never the last row that could be trained on.
    """
    if size <= 0 or rows < 2:
        return 0
    wanted = round(rows * size) if size < 1 else int(size)
    return min(max(1, wanted), rows - 1)


def split(records: Sequence[Record], size: float, seed: int) -> tuple[list[Record], list[Record]]:
    """(training, evaluation), each in the order of the file.

    Why by rank of a hash and not by a random generator: it depends on nothing but seed and content, and
    adding a row moves few others. Records with the same first question rank together, so that a question
    asked twice is seldom both learned and tested.
    """
    held_out = count_eval_rows(len(records), size)
    ranked = sorted(range(len(records)), key=lambda index: (*_rank(records[index], seed), index))
    chosen = set(ranked[:held_out])
    training = [record for index, record in enumerate(records) if index not in chosen]
    return training, [records[index] for index in sorted(chosen)]


def _rank(record: Record, seed: int) -> tuple[bytes, bytes]:
    question = [turn for turn in record.messages if turn.role == "user"][:1]
    salt = str(seed).encode()
    return (
        hashlib.sha256(salt + b"\0" + digest_turns(question)).digest(),
        hashlib.sha256(salt + b"\1" + digest_turns(record.messages)).digest(),
    )
