"""Prepare the tracker that a run reports to. It gets figures and settings, never a record's text."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.runs.tracker import REMOTE, explain_missing, missing_package
from medlora.workspace import RunPaths, make_private


def prepare_tracker(
    config: Config, run: RunPaths, environ: MutableMapping[str, str] | None = None
) -> tuple[str, ...]:
    """Point the tracker at the run's folder; returns what the user should know.

    Raises: UserError when its package is not installed.
    Source: transformers' integrations read these variables when the Trainer is made.
    """
    name = config.training.report_to
    if name == "none":
        return ()
    environ = os.environ if environ is None else environ
    package = missing_package(name)
    if package is not None:
        raise UserError(explain_missing(name, package))
    folder = str(make_private(run.root / "tracking"))
    environ["TENSORBOARD_LOGGING_DIR"] = folder
    environ["TRACKIO_DIR"] = folder
    environ["WANDB_DIR"] = folder
    environ.setdefault("WANDB_PROJECT", "medlora")
    environ.setdefault("MLFLOW_TRACKING_URI", f"file://{folder}")
    if name in REMOTE:
        return (f"training.report_to: figures and settings also go to {name}, by its own settings.",)
    return ()
