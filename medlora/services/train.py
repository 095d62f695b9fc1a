"""The Train tab's verbs: look before you leap, start, watch, stop, resume. All state is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medlora.config.resolve import Resolved
from medlora.config.schema import Config
from medlora.errors import ConfigError, UserError
from medlora.models.files import model_at_hand
from medlora.models.hardware import report_hardware
from medlora.models.parent import read_parent, shape_sets
from medlora.runs import queue, watchdog
from medlora.runs.devices import choose_device
from medlora.runs.live import observe
from medlora.runs.state import ACTIVE
from medlora.runs.stop import request_stop
from medlora.runs.store import RunRequest, default_adapter_name, find_run, load_record, remove_run
from medlora.services import configure, erasure
from medlora.services.configure import Examination
from medlora.services.devices import Check
from medlora.services.extend import change_settings, length_of, lengthen
from medlora.services.preflight import Consent, Source, find_rows, list_checks
from medlora.services.run_reading import RunSummary, RunView, list_runs, view
from medlora.workspace import Workspace, check_name

__all__ = ["Check", "Consent", "RunSummary", "RunView", "StartOptions", "list_runs", "view"]


@dataclass(frozen=True)
class StartOptions:
    """What may be said beside a configuration and a dataset.

    sets: `key=value` above everything else. token: makes repeated starts with it one run.
    """

    adapter_name: str | None = None
    consent: Consent = field(default_factory=Consent)
    sets: tuple[str, ...] = ()
    source_name: str = "config.yaml"
    token: str | None = None


def preflight(
    ws: Workspace, config: str | Examination, dataset: str | Path, options: StartOptions | None = None
) -> list[Check]:
    """What speaks for or against starting; nothing is changed."""
    options = options or StartOptions()
    examined = _examine(ws, config, dataset, options)
    return list_checks(ws, examined, _find_rows(ws, examined, dataset), options.consent)


def start(
    ws: Workspace,
    config: str | Examination,
    dataset: str | Path,
    options: StartOptions | None = None,
    *,
    adapter_name: str | None = None,
) -> str:
    """Queue a run and start it if the device is free; its id. Two clicks are one run.

    Raises: ConfigError for a configuration with problems, UserError with everything else that hinders.
    """
    options = options or StartOptions()
    wished = adapter_name or options.adapter_name
    if wished:
        check_name(wished, "adapter")
    examined = _examine(ws, config, dataset, options)
    if examined.problems or examined.resolved is None:
        raise ConfigError(examined.problems)
    source = find_rows(ws, dataset, examined.resolved.config)
    hindrances = [
        check.message
        for check in list_checks(ws, examined, source, options.consent)
        if check.status == "problem"
    ]
    if hindrances:
        raise UserError("\n".join(hindrances))
    run = queue.submit_run(
        ws, _make_request(ws, examined.resolved, source, replace(options, adapter_name=wished))
    )
    queue.dispatch(ws)
    return run.run_id


def _examine(
    ws: Workspace, config: str | Examination, dataset: str | Path, options: StartOptions
) -> Examination:
    if isinstance(config, Examination):
        return config
    return configure.examine(ws, config, str(dataset), name=options.source_name, sets=options.sets)


def _find_rows(ws: Workspace, examined: Examination, dataset: str | Path) -> Source | UserError | None:
    if examined.resolved is None:
        return None
    try:
        return find_rows(ws, dataset, examined.resolved.config)
    except UserError as error:
        return error


def _make_request(ws: Workspace, resolved: Resolved, source: Source, options: StartOptions) -> RunRequest:
    model = resolved.config.model.base_model_name
    parent = resolved.config.lora.from_adapter
    return RunRequest(
        config=resolved.config.model_dump(mode="json"),
        dataset=source.record,
        adapter_name=options.adapter_name or default_adapter_name(source.name, model),
        origins=resolved.origins,
        source_text=resolved.source_text,
        source_name=resolved.source_name,
        notices=tuple(str(notice) for notice in resolved.notices),
        skip_bad_rows=source.errors_accepted or options.consent.skip_bad_rows,
        phi_acknowledged=source.phi_settled or options.consent.phi_acknowledged,
        needs_network=not model_at_hand(ws, model),
        token=options.token,
        parent=read_parent(ws, parent).record() if parent else None,
        device=choose_device(
            resolved.config.training.model_dump(), has_gpus=report_hardware(ws).kind == "cuda"
        ),
    )


def sets_from(ws: Workspace, adapter: str) -> tuple[str, ...]:
    """The `key=value` with which a run goes on from that adapter, in its shape.

    Raises: UserError when there is no such adapter.
    """
    return shape_sets(read_parent(ws, adapter))


def stop(ws: Workspace, run_id: str) -> None:
    """Stop and keep what was learned; pressing again changes nothing.

    Raises: NotFoundError.
    """
    request_stop(ws, find_run(ws, run_id))


def discard(ws: Workspace, run_id: str) -> None:
    """Stop and keep nothing.

    Raises: NotFoundError, UserError when the run has ended.
    """
    request_stop(ws, find_run(ws, run_id), discard=True)


def resume(ws: Workspace, run_id: str, sets: Sequence[str] = ()) -> None:
    """Queue a run again; its worker goes on from the newest checkpoint that verifies.

    sets: `key=value` that make it longer, or change how often it saves, measures and tells.
    Raises: NotFoundError; UserError when it is going or discarded, or completed and not made longer.
    """
    run = find_run(ws, run_id)
    queue.requeue_run(ws, run, change_settings(ws, run, sets) if sets else None)
    queue.dispatch(ws)


def move_up(ws: Workspace, run_id: str) -> None:
    """Let a waiting run start before the one that waits before it.

    Raises: NotFoundError, UserError when it does not wait.
    """
    queue.move_up(ws, find_run(ws, run_id))


def extend(ws: Workspace, run_id: str, more: float) -> None:
    """Go on with a run for so many passes more, or steps where its length is set in steps.

    Raises: as `resume`.
    """
    resume(ws, run_id, [lengthen(find_run(ws, run_id), more)])


def remove(ws: Workspace, run_id: str) -> None:
    """Delete a run's folder with its checkpoints and log; its adapter stays.

    Raises: NotFoundError, UserError while it is queued or going.
    """
    run = find_run(ws, run_id)
    with queue.lock_queue(ws):
        status = observe(run).status
        if status in ACTIVE:
            raise UserError(f"run {run.run_id}: it is {status}; stop it first")
        remove_run(run)
    erasure.forget_unread(ws)


def length_unit(ws: Workspace, run_id: str) -> str:
    """In what a run's length is counted: `pass` (through the data) or `step`.

    Raises: NotFoundError.
    """
    return length_of(Config.model_validate(load_record(find_run(ws, run_id))["config"])).unit


def supervise(ws: Workspace) -> None:
    """Start what waits and see to what does not stop; called every few seconds by whoever is there."""
    watchdog.watch_runs(ws)
    queue.dispatch(ws)


def find_active(ws: Workspace) -> str | None:
    """The run that is going, else the first one that waits."""
    run = queue.find_active(ws)
    return run.run_id if run else None
