"""Where everything lies: the only code that joins paths.

`checkout` holds what is shipped (configs, the sample dataset); `home` holds what is written while the
app runs. They are the same folder unless MEDLORA_HOME names another home. Every written folder has
mode 0700, since any of them may hold what came from patients.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where medlora itself lies, with what is shipped beside it."""


def check_name(name: str, what: str) -> str:
    """The name itself, if it is safe as one folder name on every system.

    Raises: UserError for anything else: separators, `..`, control characters, device names of Windows.
    """
    stem = name.split(".", 1)[0].lower()
    if stem in _RESERVED:
        raise UserError(
            f"{what}: the name belongs to a device on Windows (got {name[:80]!r}); choose another"
        )
    if not _NAME.fullmatch(name) or name.endswith(".") or ".." in name:
        raise UserError(
            f"{what}: the name is not usable (got {name[:80]!r}); "
            "use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit"
        )
    return name


def computer_user() -> str:
    """Whose account on this computer this process runs under."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def make_private(folder: Path) -> Path:
    """The folder, created if need be, readable by its owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside, fsync, rename: a reader sees the old file or the new one, never half."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """One JSON document, written atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@dataclass(frozen=True)
class RunPaths:
    """Every path of one run, `experiments/<run_id>/`."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def record(self) -> Path:
        """config.json: what was asked for, what resolved, and (at the end) the results."""
        return self.root / "config.json"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def stop_file(self) -> Path:
        return self.root / "stop"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def reserve(self) -> Path:
        """Room on the disk that is given up so that the end of a run can be written when the disk is full."""
        return self.root / "reserve"

    @property
    def staging(self) -> Path:
        """The adapter before it is published by a rename."""
        return self.root / "adapter.tmp"


@dataclass(frozen=True)
class Workspace:
    """The folders of one installation."""

    home: Path
    checkout: Path

    @classmethod
    def open(cls, home: Path | None = None) -> Workspace:
        """The workspace at `home`, else at MEDLORA_HOME, else at the checkout; its folders are made."""
        checkout = CHECKOUT
        named = os.environ.get("MEDLORA_HOME", "").strip()
        chosen = home or (Path(named).expanduser() if named else checkout)
        workspace = cls(home=chosen.resolve(), checkout=checkout)
        try:
            if chosen != checkout:
                make_private(workspace.home)
            for folder in (workspace.private, workspace.experiments, workspace.datasets, workspace.adapters):
                make_private(folder)
        except OSError as error:
            raise UserError(
                f"{workspace.home}: the folder cannot be used ({error.strerror}); "
                "set MEDLORA_HOME to a folder you may write to"
            ) from error
        return workspace

    # Shipped
    @property
    def shipped_configs(self) -> Path:
        return self.checkout / "configs"

    @property
    def sample_dataset(self) -> Path:
        return self.checkout / "data" / "sample_patient_education.jsonl"

    # Written
    @property
    def private(self) -> Path:
        return self.home / ".medlora"

    @property
    def experiments(self) -> Path:
        return self.home / "experiments"

    @property
    def datasets(self) -> Path:
        return self.home / "data"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def user_configs(self) -> Path:
        """Templates the user saved; the shipped folder itself when the home is the checkout."""
        return self.home / "configs"

    @property
    def models(self) -> Path:
        """Model files; MEDLORA_MODELS names a folder that several homes share."""
        shared = os.environ.get("MEDLORA_MODELS", "").strip()
        return Path(shared).expanduser().resolve() if shared else self.private / "models"

    @property
    def uploads(self) -> Path:
        return self.private / "uploads"

    @property
    def evaluations(self) -> Path:
        """One folder for each evaluation: its request, its events, its figures."""
        return self.private / "evaluations"

    @property
    def merges(self) -> Path:
        """Adapters added into their base models, until they are taken away."""
        return self.private / "merges"

    @property
    def audit(self) -> Path:
        return self.private / "audit"

    @property
    def feedback(self) -> Path:
        return self.private / "feedback"

    @property
    def history(self) -> Path:
        """Conversations that somebody wished to keep."""
        return self.private / "history"

    @property
    def audit_retention(self) -> Path:
        """How long entries of the audit are kept."""
        return self.private / "audit-retention.json"

    @property
    def data_retention(self) -> Path:
        """How long datasets and runs are kept."""
        return self.private / "data-retention.json"

    @property
    def labelled(self) -> Path:
        """The user's own labelled messages, to try the safety layer on."""
        return self.private / "labelled"

    @property
    def drafts(self) -> Path:
        return self.private / "drafts"

    @property
    def cache(self) -> Path:
        return self.private / "cache"

    @property
    def locks(self) -> Path:
        return self.private / "locks"

    @property
    def logs(self) -> Path:
        return self.private / "logs"

    @property
    def empty(self) -> Path:
        """The app's working directory while it runs: nothing lies here that could be served."""
        return self.private / "empty"

    def run(self, run_id: str) -> RunPaths:
        return RunPaths(self.experiments / check_name(run_id, "run"))

    def adapter(self, name: str) -> Path:
        return self.adapters / check_name(name, "adapter")

    def dataset(self, name: str) -> Path:
        return self.datasets / check_name(name, "dataset")
