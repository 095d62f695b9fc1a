"""What a run tells a tracker, and what it refuses."""

from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.runs.process import worker_environment
from medlora.runs.tracker import missing_package
from medlora.training import trackers
from medlora.workspace import RunPaths, Workspace


def wanting(name: str) -> Config:
    return Config.model_validate({"training": {"report_to": name}})


def test_without_a_tracker_nothing_is_set(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert trackers.prepare_tracker(wanting("none"), RunPaths(tmp_path), environ) == ()
    assert environ == {} and list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_refused_in_words(tmp_path: Path) -> None:
    assert missing_package("mlflow") == "mlflow", "the tests need a tracker that is not installed"
    with pytest.raises(UserError) as caught:
        trackers.prepare_tracker(wanting("mlflow"), RunPaths(tmp_path), {})
    assert str(caught.value) == (
        "training.report_to: the package mlflow is not installed (got mlflow); "
        "install it with `python -m pip install mlflow`, or write none"
    )


def test_a_local_tracker_writes_into_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "missing_package", lambda name: None)
    environ: dict[str, str] = {}
    assert trackers.prepare_tracker(wanting("tensorboard"), RunPaths(tmp_path), environ) == ()
    assert environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tracking")
    said = trackers.prepare_tracker(wanting("wandb"), RunPaths(tmp_path), environ)
    assert "also go to wandb" in said[0]


def test_a_trackers_key_reaches_only_the_worker_that_reports_to_it(tmp_path: Path) -> None:
    ws, environ = Workspace.open(tmp_path), {"WANDB_API_KEY": "k", "OTHER_API_KEY": "o", "PATH": "p"}
    assert "WANDB_API_KEY" not in worker_environment(ws, environ, offline=True)
    kept = worker_environment(ws, environ, offline=True, keeps=("WANDB_",))
    assert kept["WANDB_API_KEY"] == "k" and "OTHER_API_KEY" not in kept
