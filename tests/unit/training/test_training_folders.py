"""Where a run's checkpoints lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlora.errors import UserError
from medlora.training.folders import checkpoint_folder
from medlora.workspace import RunPaths


def test_a_relative_folder_lies_inside_the_run(tmp_path: Path) -> None:
    run = RunPaths(tmp_path / "experiments" / "one")
    assert checkpoint_folder(run, "./checkpoints") == run.checkpoints
    assert checkpoint_folder(run, "out/here") == run.root / "out" / "here"


def test_an_absolute_folder_gets_one_folder_per_run(tmp_path: Path) -> None:
    run = RunPaths(tmp_path / "experiments" / "one")
    assert checkpoint_folder(run, str(tmp_path / "big")) == tmp_path / "big" / "one"


@pytest.mark.parametrize("path", ["..", "../other", "a/../..", "."])
def test_a_folder_outside_the_run_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError) as error:
        checkpoint_folder(RunPaths(tmp_path / "experiments" / "one"), path)
    assert str(error.value) == (
        f"training.output_dir: it leaves the run's own folder (got {path!r}); "
        "name a folder inside it, such as ./checkpoints, or an absolute one"
    )
