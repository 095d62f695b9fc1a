"""`train` and `runs`: start a run and follow it, list, show, stop, resume, remove."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from medlora.cli.output import JsonFlag, SetFlag, YesFlag, confirm_at_terminal, print_json, print_table
from medlora.errors import ConfigError, RunFailedError, UserError
from medlora.services import configure
from medlora.services import train as training
from medlora.services.run_records import find_runs
from medlora.services.train import Consent, RunView, StartOptions
from medlora.workspace import Workspace

commands = typer.Typer(help="Training runs.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(help="The run's id, or its beginning.")]
_POLL_S = 0.5
_ENDED = ("completed", "stopped", "failed", "lost")


def train(
    config: Annotated[str, typer.Option("--config", help="A YAML file, or a template's name.")],
    data: Annotated[
        str | None, typer.Option("--data", help="A JSONL file or a dataset; else data.dataset_path.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The adapter's name; a taken one gets -2.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", help="An adapter to go on from; the run takes over its shape.")
    ] = None,
    sets: SetFlag = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on.")] = False,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Accept that rows with problems are left out.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Train an adapter. Ctrl-C stops the run and keeps what it learned; the last line printed is JSON."""
    ws = Workspace.open()
    path = configure.find_config_file(ws, config)
    sets = [*(training.sets_from(ws, start_from) if start_from else ()), *(sets or ())]
    dataset = data or _configured_dataset(ws, config, sets)
    options = StartOptions(
        adapter_name=name,
        # Whoever names a file on the command line has it at hand; the page asks instead.
        consent=Consent(skip_bad_rows=skip_bad_rows, phi_acknowledged=True),
        sets=tuple(sets),
        source_name=str(path),
    )
    text = path.read_text(encoding="utf-8")
    for check in training.preflight(ws, text, dataset, options):
        if check.status == "notice":
            print(f"{check.name}: {check.message}", file=sys.stderr)
    run_id = training.start(ws, text, dataset, options)
    if detach:
        print_json({"run_id": run_id, "status": training.view(ws, run_id).status}, one_line=True)
        return
    finish(follow(ws, run_id, quiet=json), one_line=True)


def _configured_dataset(ws: Workspace, config: str, sets: list[str] | None) -> str:
    examined = configure.examine_file(ws, config, sets=sets or ())
    if examined.resolved is None or examined.problems:
        raise ConfigError(examined.problems)
    path = examined.resolved.config.data.dataset_path
    if not path:
        raise UserError("--data: no dataset is named, and data.dataset_path is empty; name one of them")
    return path


def follow(ws: Workspace, run_id: str, *, quiet: bool) -> RunView:
    """Watch until the run ends; Ctrl-C asks it to stop and keep."""
    from tqdm import tqdm

    said = 0
    asked = False
    with tqdm(total=None, unit="step", disable=quiet, file=sys.stderr, leave=True) as bar:
        while True:
            try:
                training.supervise(ws)
                view = training.view(ws, run_id)
                for notice in view.state.notices[said:]:
                    bar.write(f"notice: {notice}", file=sys.stderr)
                said = len(view.state.notices)
                _draw(bar, view)
                if view.status in _ENDED:
                    return view
                time.sleep(_POLL_S)
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                bar.write(
                    "Stopping; what was learned so far is kept. The run's id is " + run_id, file=sys.stderr
                )
                training.stop(ws, run_id)


def _draw(bar: Any, view: RunView) -> None:
    state = view.state
    if state.total_steps and state.step:
        bar.total = state.total_steps
        bar.n = state.step
        shown = {"loss": state.loss, "eval": state.eval_loss, "tok/s": state.tokens_per_second}
        bar.set_description_str("")
        bar.set_postfix({key: f"{value:.4g}" for key, value in shown.items() if value is not None})
    else:
        bar.set_description_str(f"{state.phase or view.status}: {state.phase_detail}".rstrip(": "))
    bar.refresh()


def _result(view: RunView) -> dict[str, Any]:
    state = view.state
    return {
        "run_id": view.run_id,
        "status": view.status,
        "adapter": state.adapter,
        "steps": state.step,
        "train_loss": state.train_loss,
        "eval_loss": state.eval_loss,
        "tokens_per_second": state.tokens_per_second,
        "seconds": state.seconds,
        "peak_memory_gib": state.peak_memory_gib,
    }


def finish(view: RunView, *, one_line: bool, extra: Mapping[str, Any] | None = None) -> None:
    """Print the result. Raises: RunFailedError for a run without one."""
    print_json({**_result(view), **(extra or {})}, one_line=one_line)
    if view.status in ("failed", "lost"):
        words = view.state.reason or "its process is gone; `runs resume` goes on from the last checkpoint"
        hint = f"; {view.state.hint}" if view.state.hint else ""
        raise RunFailedError(f"run {view.run_id}: {words}{hint}")


@commands.command("list")
def list_runs(
    find: Annotated[
        str, typer.Option("--find", help="Only runs with all these words in facts or note.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """List the runs, newest first."""
    items = find_runs(Workspace.open(), find)
    if json:
        print_json(items)
        return
    print_table(
        ("RUN", "STATUS", "STEP", "LOSS", "EVAL", "ADAPTER"),
        [
            (i.run_id, i.status, f"{i.step}/{i.total_steps or '?'}", i.loss, i.eval_loss, i.adapter)
            for i in items
        ],
    )


@commands.command("show")
def show(run_id: IdArgument, json: JsonFlag = False) -> None:
    """Show where a run stands."""
    view = training.view(Workspace.open(), run_id)
    state = view.state
    document = {
        "run_id": view.run_id,
        "status": view.status,
        "step": state.step,
        "total_steps": state.total_steps,
        "loss": state.loss,
        "eval_loss": state.eval_loss,
        "eta_s": state.eta_s,
        "adapter": state.adapter,
        "error": state.reason if view.status == "failed" else None,
    }
    if json:
        print_json(document)
        return
    for key, value in document.items():
        print(f"{key:<12} {'' if value is None else value}")


@commands.command("stop")
def stop(
    run_id: IdArgument,
    discard: Annotated[bool, typer.Option("--discard", help="Keep nothing of it.")] = False,
    json: JsonFlag = False,
) -> None:
    """Stop a run and keep what it learned; pressing again changes nothing."""
    ws = Workspace.open()
    (training.discard if discard else training.stop)(ws, run_id)
    view = training.view(ws, run_id)
    if json:
        print_json({"run_id": view.run_id, "status": view.status})
        return
    print(f"{view.run_id}: {view.status if view.status in _ENDED else 'asked to stop'}")


@commands.command("move-up")
def move_up(run_id: IdArgument, json: JsonFlag = False) -> None:
    """Move a waiting run one place up in the queue."""
    ws = Workspace.open()
    training.move_up(ws, run_id)
    view = training.view(ws, run_id)
    if json:
        print_json({"run_id": view.run_id, "status": view.status, "ahead": view.ahead})
        return
    print(f"{view.run_id}: {view.ahead} before it")


@commands.command("resume")
def resume(
    run_id: IdArgument,
    sets: SetFlag = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on.")] = False,
    json: JsonFlag = False,
) -> None:
    """Go on from the newest complete checkpoint; with --set training.num_train_epochs=5, for longer."""
    ws = Workspace.open()
    training.resume(ws, run_id, sets or ())
    known = training.view(ws, run_id).run_id
    if detach:
        print_json({"run_id": known, "status": training.view(ws, known).status}, one_line=True)
        return
    finish(follow(ws, known, quiet=json), one_line=True)


@commands.command("remove")
def remove(run_id: IdArgument, yes: YesFlag = False, json: JsonFlag = False) -> None:
    """Delete a run's record, log and checkpoints; its adapter stays."""
    ws = Workspace.open()
    known = training.view(ws, run_id).run_id
    confirm_at_terminal(f"Delete the run {known} for good?", yes)
    training.remove(ws, known)
    if json:
        print_json({"run_id": known, "removed": True})
        return
    print(f"{known}: removed")
