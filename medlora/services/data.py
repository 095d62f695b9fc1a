"""The Data tab's verbs: check a file, import it, look at it, remove it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from medlora.config.schema import Config
from medlora.dataset import kept_tokens, store
from medlora.dataset.check import CheckOptions, CheckReport, Progress, check_file
from medlora.dataset.lengths import LengthSettings
from medlora.dataset.records import LoadedRecords, explain_bad_rows
from medlora.dataset.records import load_records as load_file
from medlora.dataset.records import write_rejects as write_reject_file
from medlora.dataset.render import ChatTokenizer
from medlora.dataset.store import DatasetCard, PhiChoice
from medlora.dataset.tables.convert import origin_path
from medlora.errors import DataError, UserError
from medlora.models.files import find_model
from medlora.services import tables
from medlora.workspace import Workspace, make_private

SAMPLE_NAME = "sample"
SAMPLE_TITLE = "Sample: patient education"
Source = str | Path


@dataclass(frozen=True)
class AddOptions:
    """What the user decided about a file that is imported.

    skip_bad_rows: accepts that rows with problems are not used. phi: how the findings of the PHI scan are
    settled; None leaves them open, and training waits. keep_original: False for an upload, which is removed.
    by: who decides, where a login says so.
    """

    name: str | None = None
    title: str | None = None
    skip_bad_rows: bool = False
    phi: PhiChoice | None = None
    keep_original: bool = True
    by: str | None = None


def length_settings(config: Config) -> LengthSettings:
    """The part of a config that decides which rows are used."""
    return LengthSettings.from_config(config.model_dump())


def find_tokenizer(ws: Workspace, config: Config) -> ChatTokenizer | None:
    """The tokenizer of the config's model, if the model is on this machine."""
    files = find_model(ws, config.model.base_model_name)
    if files is None:
        return None
    path = files.path / "tokenizer.json"
    return _load_tokenizer(files.path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=2)
def _load_tokenizer(folder: Path, modified_ns: int) -> ChatTokenizer:
    return ChatTokenizer.load(folder)


# Look
def list_datasets(ws: Workspace) -> list[DatasetCard]:
    """Every imported dataset, the newest first."""
    return store.list_cards(ws)


def show_dataset(ws: Workspace, name: str) -> DatasetCard:
    """Raises: NotFoundError."""
    return store.read_card(ws, name)


def source_of(ws: Workspace, name: str) -> Path:
    """The file with the rows of an imported dataset.

    Raises: NotFoundError.
    """
    return store.source_path(ws, store.read_card(ws, name).name)


def check_dataset(
    ws: Workspace, source: Source, config: Config | None = None, progress: Progress | None = None
) -> CheckReport:
    """Check an imported dataset (its name) or any file (its path) against a config.

    Raises: UserError when it is not there or cannot be read.
    """
    path, card = store.find_source(ws, source)
    report = _check(ws, path, config, progress)
    return tables.locate(report, tables.origin_of(path, card))


def check_upload(
    ws: Workspace, path: Path, config: Config | None = None, progress: Progress | None = None
) -> CheckReport:
    """Check a file that is not imported yet.

    Raises: UserError when it is not there or cannot be read.
    """
    return tables.locate(_check(ws, path, config, progress), tables.origin_of(path, None))


def _check(ws: Workspace, path: Path, config: Config | None, progress: Progress | None) -> CheckReport:
    config = config or Config()
    store.refuse_table(path)
    return check_file(path, CheckOptions(length_settings(config)), find_tokenizer(ws, config), progress)


# Import
def add_dataset(
    ws: Workspace, path: Path, options: AddOptions | None = None, config: Config | None = None
) -> DatasetCard:
    """Import a file; the card says under which name.

    Raises: UserError when rows are bad and their loss is not accepted, or when no row is usable.
    """
    options = options or AddOptions()
    title = store.clean_title(options.title or options.name or path.name)
    report = _accept(check_upload(ws, path, config), options, title)
    origin = tables.origin_of(path, None)
    new = replace(_new_card(report, options, title), table=tables.note_origin(origin))
    if options.phi == "redact" and report.phi_rows:
        card = _add_redacted(ws, path, new, config)
    else:
        card = store.add_source(ws, path, new)
    if not options.keep_original:
        path.unlink(missing_ok=True)
        origin_path(path).unlink(missing_ok=True)
    return card


def _accept(report: CheckReport, options: AddOptions, title: str) -> CheckReport:
    if report.valid == 0:
        first = f": {report.problems[0]}" if report.problems else ""
        raise DataError(f"{title}: no row can be used{first}")
    if report.errors and not options.skip_bad_rows:
        raise DataError(explain_bad_rows(title, report.errors, report.rows))
    return report


def _add_redacted(ws: Workspace, path: Path, card: DatasetCard, config: Config | None) -> DatasetCard:
    """Import a copy in which the findings are replaced; the card counts the rows of that copy."""
    redacted = make_private(ws.uploads) / f"redacted-{secrets.token_hex(8)}.jsonl"
    try:
        store.write_redacted(path, redacted)
        report = check_upload(ws, redacted, config)
        counts = {name: getattr(report, name) for name in ("sha256", "size_bytes", "rows", "valid", "usable")}
        return store.add_source(ws, redacted, replace(card, **counts))
    finally:
        redacted.unlink(missing_ok=True)


def _new_card(report: CheckReport, options: AddOptions, title: str) -> DatasetCard:
    card = DatasetCard(
        name=store.make_name(options.name or title),
        title=title,
        sha256=report.sha256,
        size_bytes=report.size_bytes,
        rows=report.rows,
        valid=report.valid,
        usable=report.usable,
        shape=report.shape,
        created=store.now(),
        accepted_rejects=bool(report.errors),
        phi_rows=report.phi_rows,
    )
    return store.settle_phi(card, options.phi, options.by) if options.phi and report.phi_rows else card


def use_sample(ws: Workspace) -> DatasetCard:
    """The shipped sample dataset, imported once under the name `sample`.

    Raises: UserError when the installation has no sample.
    """
    if not ws.sample_dataset.is_file():
        raise UserError(f"{ws.sample_dataset.name}: the sample dataset is missing; install medlora again")
    for card in store.list_cards(ws):
        if card.name == SAMPLE_NAME and card.title == SAMPLE_TITLE:
            return card
    options = AddOptions(name=SAMPLE_NAME, title=SAMPLE_TITLE, phi="rights")
    return add_dataset(ws, ws.sample_dataset, options)


def settle_phi(ws: Workspace, name: str, by: str | None = None) -> DatasetCard:
    """Record that the user has the right to use what the PHI scan found.

    Raises: NotFoundError.
    """
    return store.update_card(ws, store.settle_phi(store.read_card(ws, name), "rights", by))


def remove_dataset(ws: Workspace, name: str) -> None:
    """Delete an imported dataset, its rejects and what was kept of its tokens.

    Raises: NotFoundError.
    """
    card = store.read_card(ws, name)
    store.remove_source(ws, name)
    kept_tokens.forget(ws, [card.sha256])
    for path in _rejects_folder(ws).glob(f"{name}-rejects-*.jsonl"):
        path.unlink(missing_ok=True)


# Hand on
def load_records(
    ws: Workspace, source: Source, config: Config, *, skip_bad_rows: bool = False
) -> LoadedRecords:
    """The records a run with this config would use.

    Raises: UserError as `medlora.dataset.records.load_records`.
    """
    path, card = store.find_source(ws, source)
    accepted = skip_bad_rows or (card is not None and card.accepted_rejects)
    return load_file(path, length_settings(config), find_tokenizer(ws, config), skip_bad_rows=accepted)


def write_rejects(
    ws: Workspace, source: Source, config: Config | None = None, target: Path | None = None
) -> Path:
    """A file with every row that is not used: its line, why, and the original. Private to the user.

    Raises: UserError when the source is not there or cannot be read.
    """
    path, card = store.find_source(ws, source)
    config = config or Config()
    if target is None:
        stem = card.name if card is not None else store.make_name(path.name)
        target = _rejects_folder(ws) / f"{stem}-rejects-{secrets.token_hex(4)}.jsonl"
    origin = tables.origin_of(path, card)
    explain = origin.relocate if origin is not None else None
    write_reject_file(path, target, length_settings(config), find_tokenizer(ws, config), explain)
    return target


def _rejects_folder(ws: Workspace) -> Path:
    return make_private(ws.private / "rejects")
