from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from medlora.runs.replaced import bring_near, put_back
from medlora.runs.store import create_run
from medlora.workspace import Workspace, make_private

OTHER_DISK = Path("/dev/shm")


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="a second file system without mounting one")
def test_an_adapter_reaches_a_library_on_another_disk(tmp_path, make_request):
    library = Path(tempfile.mkdtemp(dir=OTHER_DISK, prefix="medlora-"))
    try:
        home = make_private(tmp_path / "home")
        (home / "adapters").symlink_to(library)
        ws = Workspace.open(home)
        run = create_run(ws, make_request())
        assert run.root.stat().st_dev != library.stat().st_dev
        make_private(run.staging)
        (run.staging / "adapter_model.safetensors").write_bytes(b"weights")
        near = bring_near(ws, run)
        assert (near.parent, near.name) == (ws.adapters, f".incoming-{run.run_id}")
        assert (near / "adapter_model.safetensors").read_bytes() == b"weights"
        assert not run.staging.exists()
        put_back(ws, run)
        assert list(library.iterdir()) == [], "a run that was lost in between leaves nothing of it"
    finally:
        shutil.rmtree(library)
