"""The environment of the app, and what it refuses."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from medlora.errors import UserError
from medlora.ui import launch
from medlora.ui.launch import LaunchOptions, check_options, open_uploads, watch_runs
from medlora.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(UserError, match=f"--port: a port is a number from 1 to 65535 \\(got {port}\\)"):
        check_options(LaunchOptions(port=port))


def test_the_mode_in_which_visitors_run_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_VIBE_MODE", "1")
    with pytest.raises(UserError, match="env GRADIO_VIBE_MODE: it lets anyone who opens the page run code"):
        check_options(LaunchOptions())


def test_uploads_of_a_killed_app_are_wiped_at_the_next_start(workspace: Workspace) -> None:
    left = workspace.uploads / "999999999-1"
    left.mkdir(parents=True)
    (left / "patients.jsonl").write_text("{}", encoding="utf-8")
    (workspace.uploads / "stray.jsonl").write_text("{}", encoding="utf-8")
    mine = open_uploads(workspace)
    assert list(workspace.uploads.iterdir()) == [mine]
    assert list(mine.iterdir()) == []


def test_uploads_of_another_running_app_are_left_alone(workspace: Workspace) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        try:
            name = f"{other.pid}-{int(psutil.Process(other.pid).create_time())}"
            (workspace.uploads / name).mkdir(parents=True)
            open_uploads(workspace)
            assert (workspace.uploads / name).is_dir()
        finally:
            other.communicate(b"\n")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_upload_folder_is_readable_by_its_owner_alone(workspace: Workspace) -> None:
    mine = open_uploads(workspace)
    assert [path.stat().st_mode & 0o777 for path in (mine, mine.parent)] == [0o700, 0o700]


def test_the_environment_is_settled_before_gradio_is_imported(tmp_path: Path) -> None:
    code = """
import os, sys
from medlora.ui import launch
from medlora.workspace import Workspace
assert "gradio" not in sys.modules
uploads = launch.prepare_environment(Workspace.open())
assert "gradio" not in sys.modules
assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
assert os.environ["GRADIO_TEMP_DIR"] == str(uploads)
assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
assert int(os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"]) > 10**9
assert os.listdir(".") == []
assert os.umask(0o077) == 0o077
"""
    environment = {**os.environ, "MEDLORA_HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


def test_the_watch_over_the_runs_outlives_a_bad_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "WATCH_INTERVAL_S", 0.001)
    ended, looks = threading.Event(), []

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise OSError("disk")
        if len(looks) == 3:
            ended.set()

    watch_runs(look, ended)
    assert len(looks) == 3


def test_what_the_app_starts_with_is_never_looked_through_again() -> None:
    try:
        with launch.without_collection():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


UNTIL_SERVED = """
import os, sys
from medlora.ui import launch
launch._serve = lambda *_: print("gradio" in sys.modules, os.environ["GRADIO_TEMP_DIR"])
from {module} import main
main()
"""
SPACE = {"SYSTEM": "spaces", "SPACE_ID": "a/b", "SPACE_HOST": "a-b.hf.space"}


@pytest.mark.parametrize(
    ("module", "space"),
    [("medlora.ui.launch", {}), ("medlora.space.launch", {**SPACE, "MEDLORA_SPACE": "demo"})],
)
def test_gradio_is_not_imported_before_its_folder_for_uploads_is_named(
    workspace: Workspace, module: str, space: dict[str, str]
) -> None:
    """It takes some of its environment at import: a file could else lie where everybody may read it."""
    ran = subprocess.run(
        [sys.executable, "-c", UNTIL_SERVED.format(module=module)],
        env={**os.environ, **space, "MEDLORA_HOME": str(workspace.home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    imported, uploads = ran.stdout.split(maxsplit=1)
    assert imported == "False", ran.stderr[-2000:]
    assert Path(uploads.strip()).parent.name == workspace.uploads.name
