"""Checkpoints count only when they are whole. No torch here: a checkpoint is a folder of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.training.checkpoints import (
    MANIFEST,
    REQUIRED,
    checkpoint_to_resume,
    keep_newest,
    newest_valid,
    problem_of,
    remove_broken,
    seal,
)


def make_checkpoint(folder: Path, step: int, *, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in sorted(REQUIRED):
        (path / name).write_text(f"{name} of step {step}", encoding="utf-8")
    if sealed:
        seal(path, step)
    return path


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        make_checkpoint(tmp_path, step)
    found = newest_valid(tmp_path)
    assert found is not None
    assert found.step == 100


def test_a_checkpoint_that_was_never_finished_is_passed_over(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 5)
    make_checkpoint(tmp_path, 10, sealed=False)
    (tmp_path / "checkpoint-15").mkdir()
    found, notices = checkpoint_to_resume(tmp_path)
    assert found is not None
    assert found.step == 5
    assert notices == [
        "The checkpoint of step 15 was passed over: its manifest is missing, so saving it never finished.",
        "The checkpoint of step 10 was passed over: its manifest is missing, so saving it never finished.",
    ]


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_file_that_is_gone_or_damaged_is_named(tmp_path: Path, name: str) -> None:
    gone, damaged = make_checkpoint(tmp_path, 1), make_checkpoint(tmp_path, 2)
    (gone / name).unlink()
    (damaged / name).write_text("other", encoding="utf-8")
    assert problem_of(gone) == f"{name} is missing"
    assert problem_of(damaged) == f"{name} is damaged"


def test_a_file_that_was_never_saved_is_named(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, 1, sealed=False)
    (path / "optimizer.pt").unlink()
    seal(path, 1)
    assert problem_of(path) == "optimizer.pt was never saved"


def test_a_manifest_that_is_torn_or_of_another_step_does_not_count(tmp_path: Path) -> None:
    torn, moved = make_checkpoint(tmp_path, 1), make_checkpoint(tmp_path, 2)
    (torn / MANIFEST).write_text('{"step": 1, "fil', encoding="utf-8")
    moved = moved.rename(tmp_path / "checkpoint-3")
    assert problem_of(torn) == "its manifest cannot be read"
    assert problem_of(moved) == "its manifest belongs to another step"


def test_a_run_without_checkpoints_starts_at_the_beginning(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path) == (None, [])
    assert checkpoint_to_resume(tmp_path / "missing") == (None, [])


def test_when_no_finished_checkpoint_verifies_resuming_is_refused(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, 7)
    (path / "rng_state.pth").unlink()
    with pytest.raises(UserError) as error:
        checkpoint_to_resume(tmp_path)
    assert str(error.value) == (
        "checkpoint-7: it cannot be resumed from: rng_state.pth is missing; "
        "put the file back, or start the run again"
    )


def test_broken_checkpoints_are_removed_and_whole_ones_stay(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 1)
    make_checkpoint(tmp_path, 2, sealed=False)
    remove_broken(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_finished_run_keeps_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        make_checkpoint(tmp_path, step)
    keep_newest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
