"""Copies are found, near copies too, and the split is the same everywhere."""

from __future__ import annotations

import json
import random
from pathlib import Path

from medlora.dataset.check import CheckOptions, check_file
from medlora.dataset.duplicates import Duplicate
from medlora.dataset.records import load_records
from medlora.dataset.shapes import Record, Turn
from medlora.dataset.split import count_eval_rows, split

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def write(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    path = folder / "data.jsonl"
    rows = (json.dumps({"question": question, "answer": answer}) for question, answer in pairs)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_an_exact_copy_is_named_with_its_first_line_and_used_once(tmp_path: Path) -> None:
    path = write(tmp_path, [("Q", "A"), ("Q", "B"), (" Q ", "A\n"), ("Q", "A")])

    report = check_file(path, CheckOptions())

    assert report.duplicates == [Duplicate(3, 1, near=False), Duplicate(4, 1, near=False)]
    assert (report.valid, report.usable) == (4, 2)
    assert [record.line for record in load_records(path).records] == [1, 2]


def test_a_near_copy_is_reported_and_kept(tmp_path: Path) -> None:
    first = text(1)
    changed = first.replace(first.split()[30], "otherwise")
    path = write(tmp_path, [("Q1", first), ("Q2", text(2)), ("Q1", changed)])

    report = check_file(path, CheckOptions())

    assert report.duplicates == [Duplicate(3, 1, near=True)]
    assert report.usable == 3


def test_texts_that_share_half_their_words_are_no_copies(tmp_path: Path) -> None:
    pairs = [("Q", text(0, 40) + " " + text(seed, 40)) for seed in range(1, 40)]

    assert check_file(write(tmp_path, pairs), CheckOptions()).duplicates == []


def test_almost_every_near_copy_is_found(tmp_path: Path) -> None:
    originals = [("Q", text(seed, 100)) for seed in range(100)]
    copies = [("Q", answer + " indeed") for _, answer in originals]

    report = check_file(write(tmp_path, originals + copies), CheckOptions())

    assert len(report.duplicates) >= 98
    assert all(duplicate.line == duplicate.of + 100 for duplicate in report.duplicates)


def records(count: int) -> list[Record]:
    return [Record((Turn("user", f"Q{n}"), Turn("assistant", f"A{n}")), n + 1) for n in range(count)]


def test_the_split_is_the_same_on_any_machine() -> None:
    training, evaluation = split(records(20), 0.2, seed=42)

    assert [record.line for record in evaluation] == [3, 8, 11, 16]
    assert len(training) == 16


def test_another_seed_splits_otherwise_and_order_in_the_file_does_not() -> None:
    rows = records(50)

    held = {record.line for record in split(rows, 0.2, 1)[1]}

    assert held == {record.line for record in split(rows[::-1], 0.2, 1)[1]}
    assert held != {record.line for record in split(rows, 0.2, 2)[1]}


def test_a_question_asked_twice_is_not_both_learned_and_tested() -> None:
    twice = [
        Record((Turn("user", f"Q{n}"), Turn("assistant", answer)), n * 2 + place)
        for n in range(20)
        for place, answer in enumerate(("yes", "no"))
    ]
    training, evaluation = split(twice, 0.2, 42)

    learned = {record.messages[0].content for record in training}
    assert not learned & {record.messages[0].content for record in evaluation}


def test_at_least_one_row_is_held_out_and_one_is_left() -> None:
    assert [count_eval_rows(rows, 0.1) for rows in (0, 1, 2, 5, 14, 16, 100)] == [0, 0, 1, 1, 1, 2, 10]
    assert count_eval_rows(3, 0.99) == 2
    assert count_eval_rows(100, 0) == 0
    assert (count_eval_rows(100, 7), count_eval_rows(5, 7)) == (7, 4)
