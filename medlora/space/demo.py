"""The demo's home: made anew at every start, gone at the end; what it shows was committed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medlora.runs.store import load_record
from medlora.services import data
from medlora.workspace import RunPaths, Workspace, make_private

ADAPTER = "demo-patient-education"
_RUN = "run"
BANNER = (
    "This is a public demo: enter no patient data",
    "What you write is processed on Hugging Face's machines and nothing is kept. Chat with a small model and "
    "with an adapter that medlora trained on its sample dataset; look at that run under Train. To train on "
    "data of your own, run medlora on your own machine.",
)


@contextmanager
def demo_home(checkout: Path) -> Iterator[Workspace]:
    """A home with the sample dataset, the demo's adapter and its run; removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="medlora-demo-"))
    try:
        workspace = Workspace.open(folder)
        fill_home(workspace, checkout)
        yield workspace
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill_home(workspace: Workspace, checkout: Path) -> None:
    """The sample dataset, the demo's adapter and the run that made it."""
    data.use_sample(workspace)
    shipped = checkout / "adapters" / ADAPTER
    shutil.copytree(shipped, workspace.adapter(ADAPTER), ignore=shutil.ignore_patterns(_RUN))
    _lay_run(workspace, shipped / _RUN)


def _lay_run(workspace: Workspace, recorded: Path) -> None:
    name = str(load_record(RunPaths(recorded))["run_id"])
    run = workspace.run(name)
    make_private(run.root)
    for path in (run.record, run.events):
        shutil.copyfile(recorded / path.name, path)
    run.log.write_text("", encoding="utf-8")
