"""Trackers beside a run's own record: which there are, what each needs, and which may leave the machine."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb", "mlflow": "mlflow"}
# What wandb and mlflow are told goes where their own settings say: perhaps to another machine.
REMOTE = frozenset({"wandb", "mlflow"})
KEYS = {"wandb": ("WANDB_",), "mlflow": ("MLFLOW_",)}


def missing_package(report_to: str) -> str | None:
    """What must be installed for this tracker; None if nothing is missing. Nothing is imported."""
    package = PACKAGES.get(report_to)
    return package if package is not None and find_spec(package) is None else None


def explain_missing(report_to: str, package: str) -> str:
    """The message for a tracker that is not installed."""
    return (
        f"training.report_to: the package {package} is not installed (got {report_to}); "
        f"install it with `python -m pip install {package}`, or write none"
    )
