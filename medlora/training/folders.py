"""Where a run's checkpoints lie."""

from __future__ import annotations

from pathlib import Path

from medlora.errors import UserError
from medlora.workspace import RunPaths


def checkpoint_folder(run: RunPaths, output_dir: str) -> Path:
    """Inside the run's folder, or in a folder of the run's name at an absolute path.

    Raises: UserError for a relative path that leaves the run's folder.
    """
    asked = Path(output_dir).expanduser()
    if asked.is_absolute():
        return asked / run.run_id
    folder = (run.root / asked).resolve()
    if run.root.resolve() not in folder.parents:
        raise UserError(
            f"training.output_dir: it leaves the run's own folder (got {output_dir!r}); "
            "name a folder inside it, such as ./checkpoints, or an absolute one"
        )
    return folder
