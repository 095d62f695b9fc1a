"""What a double-click does: set up what is missing once, start the app, and say what is in the way."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Notes every call; runs code with the real Python; `-m venv` makes an environment whose python is this one.
STUB = f"""#!/bin/sh
[ "$1" = -c ] || echo "$*" >> "$NOTES"
case "$*" in
  -c*) [ -z "$TOO_OLD" ] && exec {sys.executable} "$@"; exit 1 ;;
  --version) echo "Python 3.9.6" ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip"*) exit "${{PIP_ENDS:-0}}" ;;
  app.py) echo "medlora is at http://127.0.0.1:7860" ;;
esac
"""


class Checkout:
    """A copy of the files that matter, and a computer with one stub of a Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a checkout (1)"
        self.bin = folder / "bin"
        self.notes = folder / "notes"
        self.folder.mkdir()
        self.bin.mkdir()
        for name in ("start.command", "requirements.txt"):
            shutil.copy2(ROOT / name, self.folder / name)
        for name in ("sh", "dirname", "sed", "mkdir", "cp", "touch"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.install_python("python3")

    def install_python(self, name: str) -> None:
        stub = self.bin / name
        stub.write_text(STUB, encoding="utf-8")
        stub.chmod(0o755)

    def start(self, **more: str) -> tuple[int, str, list[str]]:
        """Exit status, everything printed, and what Python was asked to do."""
        self.notes.write_text("")
        done = subprocess.run(
            ["/bin/sh", str(self.folder / "start.command")],
            env={"PATH": str(self.bin), "NOTES": str(self.notes), **more},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, self.notes.read_text().splitlines()


posix = pytest.mark.skipif(os.name != "posix", reason="start.command is for macOS and Linux")
INSTALL = "-m pip install --disable-pip-version-check -r requirements.txt"


@posix
def test_the_first_start_sets_up_and_the_second_only_starts(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    code, said, asked = checkout.start()
    assert (code, asked) == (0, ["-m venv --clear .venv", INSTALL, "app.py"])
    assert "medlora is at http://127.0.0.1:7860" in said
    assert checkout.start()[2] == ["app.py"]
    newer = (checkout.folder / ".venv" / ".run").stat().st_mtime + 5
    os.utime(checkout.folder / "requirements.txt", (newer, newer))
    assert checkout.start()[2] == [INSTALL, "app.py"], "a changed list of packages is installed"


@posix
def test_a_missing_or_old_python_is_told_with_what_to_do(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    code, said, _ = checkout.start(TOO_OLD="1")
    assert code == 1 and said.strip() == (
        "medlora needs Python 3.11 or newer, and none was found on this computer (python3 is 3.9.6). "
        "Get it from https://www.python.org/downloads/, then start this file again."
    )
    (checkout.bin / "python3").unlink()
    code, said, _ = checkout.start()
    assert code == 1 and "none was found on this computer. Get it" in said
    assert not (checkout.folder / ".venv").exists()


@posix
def test_a_failed_installation_is_no_installation(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    code, said, asked = checkout.start(PIP_ENDS="1")
    assert code == 1 and "The packages could not be installed. Is there a network?" in said
    assert "app.py" not in asked
    assert checkout.start()[2] == [INSTALL, "app.py"], "it goes on where it stopped"


def test_a_double_click_runs_it() -> None:
    if os.name == "posix":
        assert (ROOT / "start.command").stat().st_mode & stat.S_IXUSR
    assert b"\r" not in (ROOT / "start.command").read_bytes()


def test_the_windows_file_takes_the_same_steps_with_windows_line_ends() -> None:
    raw = (ROOT / "start.bat").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n") and raw.isascii()
    assert "*.bat text eol=crlf" in (ROOT / ".gitattributes").read_text()
    text = raw.decode()
    steps = ["-m venv --clear .venv", "pip install --disable-pip-version-check -r requirements.txt", "app.py"]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    labels = set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert set(re.findall(r"goto (\w+)", text)) <= labels
    recipe = (ROOT / "Makefile").read_text()
    assert "sys.version_info < (3, 11)" in text and "sys.version_info < (3, 11)" in recipe
    assert f"{steps[1]}" in recipe and "$(PY) app.py" in recipe
