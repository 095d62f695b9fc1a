"""The Evaluate tab's verbs: judge an adapter beside its base, watch, stop, read the figures.

An evaluation is a process of its own, as a run is: its folder holds its request, its events and its figures,
and nothing about it lives in the memory of the app.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from medlora.dataset.store import find_source
from medlora.errors import NotFoundError, UserError
from medlora.models.files import find_model
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import Launch, spawn_worker
from medlora.runs.stop import request_stop
from medlora.runs.store import load_record
from medlora.services import adapters
from medlora.services.adapters import part, read_object
from medlora.services.chat_model import training_device
from medlora.services.labelled import labelled_path, own_labelled
from medlora.services.served_seats import refuse_served
from medlora.workspace import RunPaths, Workspace, check_name, make_private, write_json

RESULT = "evaluation.json"
_KEPT = 20


@dataclass(frozen=True)
class EvaluationWish:
    """What to measure on. dataset: a dataset's name or a file; None for the one the adapter learned from.

    rows: the most rows for loss and choices. answers: how many of them are answered in words, which takes
    most of the time. longest: tokens of an answer at most. risky: how many risky messages are tried.
    """

    adapter: str
    dataset: str | None = None
    rows: int = 50
    answers: int = 10
    longest: int = 128
    risky: int = 24
    seed: int = 0

    def check(self) -> None:
        """Raises: UserError for a number that makes no sense."""
        bounds = {"rows": (1, 10_000), "answers": (0, 2_000), "longest": (8, 2_048), "risky": (0, 24)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name}: must be a whole number from {low} to {high} (got {value})")


@dataclass(frozen=True)
class EvaluationView:
    """An evaluation as a screen shows it. fraction: 0 to 1, None while nobody can tell.

    status: running, stopping, completed, stopped, failed or lost. result: the figures, empty before the end.
    """

    id: str
    adapter: str
    dataset: str
    status: str
    detail: str
    fraction: float | None
    reason: str | None
    hint: str | None
    created: str
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def going(self) -> bool:
        return self.status in ("queued", "running", "stopping")


def start(ws: Workspace, wish: EvaluationWish) -> str:
    """Start an evaluation; its id. One at a time: a second one is refused while one goes on.

    Raises: NotFoundError, UserError with what hinders.
    """
    wish.check()
    refuse_served(ws, wish.adapter)
    card = adapters.show(ws, wish.adapter)
    if card.problem:
        raise UserError(f"adapter {card.name}: {card.problem}; it cannot be evaluated")
    files = find_model(ws, card.base_model)
    if files is None:
        raise UserError(
            f"model: {card.base_model} is not on this machine; chat with it once, which fetches it"
        )
    going = next((view for view in list_evaluations(ws) if view.going), None)
    if going is not None:
        raise UserError(f"evaluation of {going.adapter}: it is still going; wait for it or stop it")
    if training_device(ws) not in (None, "cpu"):
        raise UserError("evaluation: a training run is using the GPU; wait for it or stop it")
    path, name = _find_dataset(ws, card, wish.dataset)
    run = _make_folder(ws, card.name)
    write_json(
        run.root / "request.json",
        {
            "adapter_name": card.name,
            "adapter": str(card.path),
            "base": str(files.path),
            "base_name": card.base_model,
            "config": dict(card.config),
            "dataset": {
                "name": name,
                "path": str(path),
                "sha256": str(part(card.provenance, "dataset").get("sha256") or ""),
            },
            "rows": wish.rows,
            "answers": min(wish.answers, wish.rows),
            "longest": wish.longest,
            "risky": wish.risky,
            "labelled": _choose_labelled(ws),
            "seed": wish.seed,
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        },
    )
    append_event(run, "created")
    mark = spawn_worker(ws, run, Launch(_command()))
    append_event(run, "launched", pid=mark.pid, pid_start=mark.start)
    _forget_old(ws)
    return run.run_id


def view(ws: Workspace, evaluation_id: str) -> EvaluationView:
    """One evaluation as it is now.

    Raises: NotFoundError.
    """
    return _view(_find(ws, evaluation_id))


def list_evaluations(ws: Workspace, adapter: str | None = None) -> list[EvaluationView]:
    """Every evaluation, newest first; those of one adapter if it is named."""
    if not ws.evaluations.is_dir():
        return []
    folders = sorted((p for p in ws.evaluations.iterdir() if p.is_dir()), key=lambda p: p.name, reverse=True)
    views = [_view(RunPaths(folder)) for folder in folders if (folder / "request.json").is_file()]
    return [item for item in views if adapter in (None, item.adapter)]


def stop(ws: Workspace, evaluation_id: str) -> None:
    """Stop an evaluation; there are no figures then.

    Raises: NotFoundError.
    """
    request_stop(ws, _find(ws, evaluation_id))


def publish_results(ws: Workspace) -> None:
    """Lay each finished evaluation's figures beside the adapter they are of; called by whoever looks.

    Why checked by hash: the adapter may have been trained further, or replaced, while it was measured.
    """
    for item in list_evaluations(ws):
        target = ws.adapters / item.adapter / RESULT
        fresh = item.status == "completed" and target.parent.is_dir() and not _is_newer(target, item)
        if fresh and adapters.weights_hash(target.parent) == item.result.get("adapter_sha256"):
            write_json(target, {"id": item.id, "created": item.created, **item.result})


def latest_result(ws: Workspace, adapter: str) -> dict[str, Any] | None:
    """The newest figures of an adapter as it is now, None when there are none.

    Raises: NotFoundError.
    """
    publish_results(ws)
    return read_result(adapters.show(ws, adapter))


def read_result(card: adapters.AdapterCard) -> dict[str, Any] | None:
    """The figures that lie beside an adapter, None when there are none of its present weights."""
    result = read_object(card.path / RESULT)
    if not result or result.get("adapter_sha256") != adapters.weights_hash(card.path):
        return None
    return result


def rename_adapter(ws: Workspace, name: str, new_name: str) -> None:
    """Evaluations of an adapter follow it to its new name."""
    for item in list_evaluations(ws, name):
        path = ws.evaluations / item.id / "request.json"
        write_json(
            path, {**read_object(path), "adapter_name": new_name, "adapter": str(ws.adapter(new_name))}
        )


def forecast_s(ws: Workspace, wish: EvaluationWish) -> float | None:
    """How long an evaluation would take, by the pace of the last one on the same base; None without one.

    Units: seconds.
    """
    refuse_served(ws, wish.adapter)
    base = adapters.show(ws, wish.adapter).base_model
    for item in list_evaluations(ws):
        each = part(item.result, "seconds_each")
        if each and read_object(ws.evaluations / item.id / "request.json").get("base_name") == base:
            break
    else:
        return None
    before, dataset = part(item.result, "settings"), part(item.result, "dataset")
    rows = wish.rows if wish.dataset else min(wish.rows, int(dataset.get("of") or wish.rows))
    longer = wish.longest / float(before["longest"])
    risky = min(wish.longest, 64) / min(float(before["longest"]), 64)
    amounts = {
        "loss": rows,
        "choice": rows,
        "answer": min(wish.answers, rows) * longer,
        "risky": wish.risky * risky,
    }
    return sum(2 * amount * float(each.get(kind, 0)) for kind, amount in amounts.items())


def _command() -> tuple[str, ...]:
    training = Launch().command
    return (*training[:-1], "medlora.jobs.evaluation")


def _choose_labelled(ws: Workspace) -> dict[str, str]:
    """The labelled messages that the safety settings are scored on: the user's own, else the shipped ones."""
    own = own_labelled(ws)
    return {"set": "your own" if own else "shipped", "path": str(own or labelled_path())}


def _find_dataset(ws: Workspace, card: adapters.AdapterCard, wished: str | None) -> tuple[Path, str]:
    name = wished or _trained_file(ws, card) or card.dataset
    if not name:
        raise UserError(f"adapter {card.name}: its dataset is not on record; name one with --data")
    try:
        path, found = find_source(ws, name)
    except UserError as error:
        if wished:
            raise
        raise UserError(
            f"adapter {card.name}: the dataset it learned from, {name!r}, is not here any more; "
            "name another one with --data"
        ) from error
    return path, card.dataset if not wished else found.name if found else path.stem


def _trained_file(ws: Workspace, card: adapters.AdapterCard) -> str:
    """The file that the adapter's run read, if both are still here."""
    try:
        path = str(load_record(ws.run(card.run_id))["dataset"]["path"])
    except (UserError, KeyError, TypeError):
        return ""
    return path if Path(path).is_file() else ""


def _make_folder(ws: Workspace, adapter: str) -> RunPaths:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunPaths(make_private(ws.evaluations / f"{stamp}-{adapter[:40]}-{secrets.token_hex(2)}"))


def _find(ws: Workspace, evaluation_id: str) -> RunPaths:
    run = RunPaths(ws.evaluations / check_name(evaluation_id, "evaluation"))
    if not (run.root / "request.json").is_file():
        raise NotFoundError(f"evaluation: there is none of this id (got {evaluation_id!r})")
    return run


def _view(run: RunPaths) -> EvaluationView:
    request, state = read_object(run.root / "request.json"), observe(run)
    return EvaluationView(
        id=run.run_id,
        adapter=str(request.get("adapter_name", "")),
        dataset=str(part(request, "dataset").get("name", "")),
        status=state.status,
        detail=state.phase_detail,
        fraction=state.phase_fraction,
        reason=state.reason,
        hint=state.hint,
        created=str(request.get("created", "")),
        result=read_object(run.root / "result.json") if state.status == "completed" else {},
    )


def _is_newer(target: Path, item: EvaluationView) -> bool:
    return str(read_object(target).get("created", "")) >= item.created


def _forget_old(ws: Workspace) -> None:
    """Keep the newest few: each may hold questions and answers of a dataset."""
    for item in [item for item in list_evaluations(ws) if not item.going][_KEPT:]:
        shutil.rmtree(ws.evaluations / item.id, ignore_errors=True)
