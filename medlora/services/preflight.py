"""What is wrong, or worth knowing, before a run starts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from medlora.config.plan import count_steps
from medlora.config.schema import Config
from medlora.dataset import store
from medlora.dataset.check import CheckReport
from medlora.errors import UserError
from medlora.models.files import STARTER, local_folder, model_at_hand
from medlora.runs.live import observe
from medlora.runs.store import list_runs, load_record
from medlora.services import configure, data
from medlora.services.configure import Examination
from medlora.workspace import Workspace

_GIB = 2**30
_STARTER_GIB = 0.5
# Until a run of this model was measured on this machine: a cautious guess for the starter on two cores.
_ASSUMED_STARTER_SPEED = 150.0


@dataclass(frozen=True)
class Check:
    """One row of the checklist; a problem keeps the run from starting, a notice does not."""

    name: str
    status: Literal["ok", "notice", "problem"]
    message: str


@dataclass(frozen=True)
class Inspection:
    """The checklist, and the dataset's report if it could be read."""

    checks: list[Check]
    report: CheckReport | None


def inspect_start(
    ws: Workspace,
    examined: Examination,
    dataset: str,
    *,
    skip_bad_rows: bool = False,
    phi_acknowledged: bool = False,
) -> Inspection:
    """Every check that can be made without torch and without the network."""
    checks = [_check_config(examined)]
    config = examined.resolved.config if examined.resolved else None
    report: CheckReport | None = None
    try:
        path, card = store.find_source(ws, dataset)
        report = _report(ws, dataset, config or Config(), path)
        accepted = skip_bad_rows or bool(card and card.accepted_rejects)
        settled = phi_acknowledged or bool(card and card.phi_settled)
        checks += _check_rows(report, accepted=accepted, settled=settled)
    except UserError as error:
        checks.append(Check("Dataset", "problem", str(error)))
    if config is not None:
        checks.append(_check_model(ws, config))
        checks.append(_check_memory(ws, config, report))
        if report is not None and report.usable:
            checks.append(_check_time(ws, config, report))
        checks.append(_check_disk(ws, config))
    return Inspection(checks, report)


def _report(ws: Workspace, dataset: str, config: Config, path: Path) -> CheckReport:
    stat = path.stat()
    key = (config.model_dump_json(), stat.st_size, stat.st_mtime_ns)
    return _cached_report(ws, dataset, key)


@lru_cache(maxsize=8)
def _cached_report(ws: Workspace, dataset: str, key: tuple[str, int, int]) -> CheckReport:
    """Why cached: the checklist is drawn at every look, the file only changes with its size or time."""
    return data.check_dataset(ws, dataset, Config.model_validate_json(key[0]))


def _check_config(examined: Examination) -> Check:
    if examined.problems:
        return Check("Configuration", "problem", "\n".join(str(problem) for problem in examined.problems))
    notices = [str(problem) for problem in examined.notices]
    return Check(
        "Configuration", "notice" if notices else "ok", "\n".join(notices) or "All settings are valid."
    )


def _check_rows(report: CheckReport, *, accepted: bool, settled: bool) -> list[Check]:
    checks = []
    errors = len(report.errors)
    summary = f"{report.usable} of {report.rows} rows are used."
    if report.usable < 2:
        checks.append(Check("Dataset", "problem", f"{summary} At least two are needed; add rows."))
    elif errors and not accepted:
        message = (
            f"{errors} of {report.rows} rows cannot be used; mend them, or accept that they are left out."
        )
        checks.append(Check("Dataset", "problem", message))
    elif report.usable < report.rows:
        left = report.rows - report.usable
        checks.append(
            Check("Dataset", "notice", f"{summary} {left} are left out (bad, too long, too short, copies).")
        )
    else:
        checks.append(Check("Dataset", "ok", summary))
    if report.tokens is not None and report.tokens.truncated:
        cut = f"{report.tokens.truncated} rows are longer than max_seq_length; their ends are cut off."
        checks.append(Check("Length", "notice", cut))
    if report.phi_rows and not settled:
        found = (
            f"{report.phi_rows} rows may hold personal data; say in the Data tab what shall happen with it."
        )
        checks.append(Check("Personal data", "problem", found))
    return checks


def _check_model(ws: Workspace, config: Config) -> Check:
    name = config.model.base_model_name
    if model_at_hand(ws, name):
        return Check("Model", "ok", f"{name} is on this machine.")
    if name == STARTER:
        return Check("Model", "notice", "The starter model (about 90 MB) is fetched first, once.")
    if local_folder(name) is not None:
        return Check(
            "Model", "problem", f"{name}: the folder lacks config.json, tokenizer.json or safetensors."
        )
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return Check("Model", "notice", f"{name} is fetched from the model hub first, once.")
    return Check(
        "Model", "problem", f"{name}: neither the starter, nor a Hub id (owner/model), nor a folder."
    )


def _check_memory(ws: Workspace, config: Config, report: CheckReport | None) -> Check:
    longest = report.tokens.max if report is not None and report.tokens is not None else None
    try:
        needed = configure.estimate(ws, config, longest=longest)
    except UserError:
        return Check("Memory", "notice", "Not known before the model is here.")
    device = needed.device
    where = "GPU memory" if device.kind == "cuda" else "memory"
    if device.free_gib is None or needed.fits is None:
        return Check("Memory", "notice", f"About {needed.total_gib:.1f} GB of {where} needed.")
    words = f"About {needed.total_gib:.1f} of {device.free_gib:.1f} GB free {where} needed."
    if needed.fits:
        return Check("Memory", "ok", words)
    advice = "Lay the remedy 'less memory' over the configuration, or choose a smaller model."
    return Check("Memory", "notice", f"{words} It may not fit. {advice}")


def _check_time(ws: Workspace, config: Config, report: CheckReport) -> Check:
    share = config.data.eval_dataset_size
    held_out = int(share) if share >= 1 else round(report.usable * share)
    rows = max(1, report.usable - held_out)
    steps = count_steps(config, rows)
    speed, source = _known_speed(ws, config.model.base_model_name)
    if report.tokens is None or not report.valid or speed is None:
        return Check("Time", "ok", f"{steps} steps; how long is known once a run was measured here.")
    per_row = report.tokens.total / report.valid
    batch = config.training.per_device_train_batch_size * config.training.gradient_accumulation_steps
    minutes = steps * min(batch, rows) * per_row / speed / 60
    length = f"{minutes:.0f} minutes" if minutes >= 2 else f"{max(minutes * 60, 1):.0f} seconds"
    return Check("Time", "ok", f"{steps} steps, about {length} ({source}).")


def _known_speed(ws: Workspace, model: str) -> tuple[float | None, str]:
    """Tokens per second of the newest measured run of this model, else a guess for the starter."""
    for run in list_runs(ws)[:50]:
        try:
            used = load_record(run)["config"]["model"]["base_model_name"]
        except (UserError, KeyError, TypeError):
            continue
        measured = observe(run).tokens_per_second
        if used == model and measured:
            return measured, "as fast as the last run of this model"
    return (_ASSUMED_STARTER_SPEED, "a guess until one run was measured") if model == STARTER else (None, "")


def _check_disk(ws: Workspace, config: Config) -> Check:
    free = shutil.disk_usage(ws.home).free / _GIB
    needed = 0.3 + (0 if model_at_hand(ws, config.model.base_model_name) else _STARTER_GIB)
    if free < needed:
        return Check(
            "Disk", "problem", f"{free:.1f} GB are free, about {needed:.1f} are needed; free some space."
        )
    return Check("Disk", "ok", f"{free:.0f} GB are free.")
