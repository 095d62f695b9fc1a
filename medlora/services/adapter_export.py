"""Ways out of the library: merged into the base model, for Ollama, to the Hub."""

from __future__ import annotations

import re
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from medlora.errors import NotFoundError, RunFailedError, UserError
from medlora.models.files import find_model
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.runs.process import Launch, spawn_worker
from medlora.runs.stop import request_stop
from medlora.services import adapters
from medlora.services.adapters import AdapterCard, part, read_object
from medlora.services.chat_model import training_device
from medlora.workspace import RunPaths, Workspace, check_name, make_private, write_atomic, write_json

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class MergeView:
    """A merge as a screen shows it. folder: where the merged model lies, once it is done."""

    id: str
    adapter: str
    status: str
    detail: str
    fraction: float | None
    reason: str | None
    folder: Path
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def going(self) -> bool:
        return self.status in ("queued", "running", "stopping")


def start_merge(ws: Workspace, name: str) -> str:
    """Add an adapter into its base model, in a process of its own; the merge's id.

    Raises: NotFoundError, UserError with what hinders.
    """
    card = adapters.show(ws, name)
    if card.problem:
        raise UserError(f"adapter {name}: {card.problem}; it cannot be merged")
    files = find_model(ws, card.base_model)
    if files is None:
        raise UserError(
            f"model: {card.base_model} is not on this machine; chat with it once, which fetches it"
        )
    going = next((item for item in list_merges(ws) if item.going), None)
    if going is not None:
        raise UserError(f"merge of {going.adapter}: it is still going; wait for it or stop it")
    if training_device(ws) is not None:
        raise UserError("merge: a training run is using this machine; wait for it or stop it")
    size = sum(path.stat().st_size for path in files.path.glob("*.safetensors"))
    free = shutil.disk_usage(ws.private).free
    if free < size * 1.1 + 2**28:
        raise UserError(
            f"merge: the disk has {free / 2**30:.1f} GiB free (it needs {size / 2**30:.1f}); free some"
        )
    for old in list_merges(ws, name):
        shutil.rmtree(ws.merges / old.id, ignore_errors=True)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run = RunPaths(make_private(ws.merges / f"{stamp}-{name[:40]}-{secrets.token_hex(2)}"))
    request = {"adapter_name": name, "adapter": str(card.path), "base": str(files.path)}
    write_json(run.root / "request.json", request)
    append_event(run, "created")
    training = Launch().command
    mark = spawn_worker(ws, run, Launch((*training[:-1], "medlora.jobs.merge")))
    append_event(run, "launched", pid=mark.pid, pid_start=mark.start)
    return run.run_id


def list_merges(ws: Workspace, adapter: str | None = None) -> list[MergeView]:
    """Every merge, newest first; those of one adapter if it is named."""
    folders = sorted(ws.merges.iterdir(), key=lambda p: p.name, reverse=True) if ws.merges.is_dir() else []
    views = [_view(RunPaths(folder)) for folder in folders if (folder / "request.json").is_file()]
    return [item for item in views if adapter in (None, item.adapter)]


def view_merge(ws: Workspace, merge_id: str) -> MergeView:
    """One merge as it is now.

    Raises: NotFoundError.
    """
    run = RunPaths(ws.merges / check_name(merge_id, "merge"))
    if not (run.root / "request.json").is_file():
        raise NotFoundError(f"merge: there is none of this id (got {merge_id!r})")
    return _view(run)


def stop_merge(ws: Workspace, merge_id: str) -> None:
    """Stop a merge; nothing is kept.

    Raises: NotFoundError.
    """
    view_merge(ws, merge_id)
    request_stop(ws, RunPaths(ws.merges / merge_id))


def take_merged(ws: Workspace, merge_id: str, target: Path) -> Path:
    """Move a finished merged model to where the user wants it, with its Modelfile and provenance.

    Raises: UserError for a target that exists, RunFailedError for a merge without a result.
    """
    item = view_merge(ws, merge_id)
    if item.status != "completed":
        raise RunFailedError(f"merge of {item.adapter}: {item.reason or item.status}")
    if target.exists():
        raise UserError(f"--to: it exists (got {target}); name another folder")
    complete_merged(ws, item)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(item.folder, target)
    shutil.rmtree(ws.merges / merge_id, ignore_errors=True)
    return target


def zip_merged(ws: Workspace, name: str, target: Path) -> Path:
    """The latest merged model of an adapter as one zip file; weights do not shrink, so nothing is packed.

    Raises: NotFoundError without a finished merge, UserError when the disk has no room for it.
    """
    done = next((item for item in list_merges(ws, name) if item.status == "completed"), None)
    if done is None:
        raise NotFoundError(f"merge of {name}: there is no merged model; merge it first")
    complete_merged(ws, done)
    files = sorted(path for path in done.folder.iterdir() if path.is_file())
    size, free = sum(path.stat().st_size for path in files), shutil.disk_usage(target.parent).free
    if free < size * 1.05 + 2**28:
        raise UserError(
            f"merge: the disk has {free / 2**30:.1f} GiB free (it needs {size / 2**30:.1f}); "
            f"take it from its folder instead: {done.folder}"
        )
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            archive.write(path, f"{name}-merged/{path.name}")
    partial.replace(target)
    return target


def complete_merged(ws: Workspace, item: MergeView) -> None:
    """Lay beside the merged weights what tells where they come from and how to use them."""
    card = adapters.show(ws, item.adapter)
    merge = {key: value for key, value in item.result.items() if key != "folder"}
    write_json(item.folder / "provenance.json", {**card.provenance, "merge": merge})
    safety = part(card.config, "safety")
    if safety:
        write_json(item.folder / "safety_settings.json", dict(safety))
    write_atomic(item.folder / "Modelfile", write_modelfile(card, merged=True))


def write_modelfile(card: AdapterCard, *, merged: bool) -> str:
    """What `ollama create NAME -f Modelfile` reads, in the folder of the merged model or of the adapter.

    Why the system prompt is quoted in threes and may not hold them: it ends the text for Ollama.
    Source: Ollama's Modelfile reference: FROM, ADAPTER, SYSTEM, PARAMETER.
    """
    inference = part(card.config, "inference")
    prompt = str(part(card.config, "safety").get("system_prompt") or "").replace('"""', "''").strip()
    lines = [f"# {card.name}, made with medlora. Ollama does not run medlora's safety layer."]
    lines += ["FROM ."] if merged else [f"FROM {card.base_model}", "ADAPTER ."]
    if not merged:
        lines.insert(1, "# Replace the next name by Ollama's own name for this base model.")
    for ours, theirs in (
        ("temperature", "temperature"), ("top_p", "top_p"), ("repetition_penalty", "repeat_penalty"),
        ("max_new_tokens", "num_predict"), ("context_length", "num_ctx"), ("seed", "seed"),
    ):  # fmt: skip
        if inference.get(ours) is not None:
            lines.append(f"PARAMETER {theirs} {inference[ours]}")
    if prompt:
        lines.append(f'SYSTEM """{prompt}"""')
    return "\n".join(lines) + "\n"


def push(ws: Workspace, name: str, repository: str, *, private: bool = True) -> str:
    """Put an adapter on the Hub with its card and provenance; its address there.

    Private unless asked otherwise: it may have learned sentences of its dataset by heart.
    Raises: NotFoundError; UserError when it cannot be had there.
    """
    card = adapters.show(ws, name)
    if card.problem:
        raise UserError(f"adapter {name}: {card.problem}; it cannot be pushed")
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise UserError(f"repository: must be owner/name (got {repository[:80]!r})")
    from huggingface_hub import HfApi, errors

    api = HfApi()
    with adapters.hold_adapter(ws, name):
        staging = adapters.collect_export(ws, name)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository, folder_path=staging, commit_message=f"{name}, made with medlora"
            )
        except errors.HfHubHTTPError as error:
            code = error.response.status_code if error.response is not None else "no answer"
            raise UserError(
                f"Hub: {repository} cannot be written (status {code}); HF_TOKEN must allow writing it"
            ) from error
        except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:  # type: ignore[attr-defined]
            raise UserError(f"Hub: it cannot be reached ({type(error).__name__}); try again later") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return str(getattr(done, "commit_url", None) or f"https://huggingface.co/{repository}")


def _view(run: RunPaths) -> MergeView:
    request, state = read_object(run.root / "request.json"), observe(run)
    return MergeView(
        id=run.run_id,
        adapter=str(request.get("adapter_name", "")),
        status=state.status,
        detail=state.phase_detail,
        fraction=state.phase_fraction,
        reason=state.reason,
        folder=run.root / "merged",
        result=read_object(run.root / "result.json") if state.status == "completed" else {},
    )
