"""From an uploaded file to a stored dataset: what the user must agree to, and what is left behind."""

from __future__ import annotations

from pathlib import Path

from medlora.dataset.store import DatasetCard, PhiChoice
from medlora.errors import UserError
from medlora.services import data
from medlora.ui import present
from medlora.ui.dataset_removal import Shown
from medlora.ui.downloads import drop_upload, new_download
from medlora.ui.draft import draft_config
from medlora.ui.visitors import account_name
from medlora.workspace import Workspace

PHI_CHOICES = [
    ("I have the right to use it as it is", "rights"),
    ("Redact what was found", "redact"),
]


def store_upload(
    workspace: Workspace, shown: Shown | None, skip_bad: bool, phi: str | None, name: str
) -> DatasetCard:
    """Add the uploaded file, or settle what a stored dataset still waits for.

    Raises: UserError when the user has not agreed to what needs agreement.
    """
    if shown is None:
        raise UserError("dataset: there is no file to add; upload one first")
    if isinstance(shown.source, str):
        if phi is None:
            raise UserError("personal data: say that you may use it, or remove the dataset")
        return data.settle_phi(workspace, shown.source, account_name() or None)
    choice: PhiChoice | None = "redact" if phi == "redact" else "rights" if phi == "rights" else None
    report = data.check_upload(workspace, shown.source, draft_config(workspace))
    if report.phi_rows and choice is None:
        raise UserError(
            f"personal data: {present.count(report.phi_rows, 'row')} may identify a person; "
            "say that you may use it, or have it redacted"
        )
    options = data.AddOptions(
        name=name.strip() or None,
        skip_bad_rows=skip_bad,
        phi=choice,
        keep_original=False,
        by=account_name() or None,
    )
    made = data.add_dataset(workspace, shown.source, options, draft_config(workspace))
    shown.drop_files()
    return made


def forget_upload(shown: Shown | None, table: str | None, keep: Path | None = None) -> None:
    """Remove an upload that was not added: it was given up, or another one (`keep`) takes its place."""
    if shown is not None and shown.is_upload:
        shown.drop_files(keep)
    if table is not None and Path(table) != keep:
        drop_upload(Path(table))


def make_rejects(workspace: Workspace, shown: Shown | None) -> Path:
    """Every row that is not used, with its line and the reason, as a file."""
    if shown is None:
        raise UserError("rejects: there is no file; upload one first")
    target = new_download("rejects.jsonl")
    return data.write_rejects(workspace, shown.source, draft_config(workspace), target)
