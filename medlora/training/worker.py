"""The training process: `python -m medlora.training.worker RUN_DIR`.

It reads nothing but the run's record, writes its events, and survives whoever started it. Whatever goes
wrong ends as one `ended` event with a reason in words; the traceback goes to the log.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from medlora.config.schema import Config
from medlora.errors import MedloraError
from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.queue import dispatch, relaunch_run
from medlora.runs.store import load_record, remove_checkpoints
from medlora.training.checkpoints import Checkpoint, checkpoint_to_resume, newest_valid
from medlora.training.folders import checkpoint_folder
from medlora.training.launch import launch_ranks
from medlora.training.stopping import StoppedEarly, StopWish
from medlora.workspace import RunPaths, Workspace

if TYPE_CHECKING:
    from medlora.training.session import Session

log = logging.getLogger("medlora.training")
_RESERVE_BYTES = 64 * 1024


def main(argv: list[str]) -> int:
    """Run to the end; 0 when it ended as wished or goes on in a fresh process, 3 when it failed."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m medlora.training.worker RUN_DIR\n")
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run = RunPaths(Path(argv[0]).resolve())
    ws = Workspace.open(run.root.parent.parent)
    stop = StopWish(run)
    stop.listen()
    try:
        return work(ws, run, stop)
    finally:
        start_next(ws)


def work(ws: Workspace, run: RunPaths, stop: StopWish) -> int:
    """The run between its first and its last event."""
    try:
        run.reserve.write_bytes(bytes(_RESERVE_BYTES))
        _train(ws, run, stop)
    except StoppedEarly:
        _end_early(run)
    except BaseException as error:  # noqa: BLE001 - the process's edge: every end is written down
        run.reserve.unlink(missing_ok=True)
        return _end_badly(ws, run, error)
    finally:
        run.reserve.unlink(missing_ok=True)
    return 0


def _train(ws: Workspace, run: RunPaths, stop: StopWish) -> None:
    """Why the heavy imports stand here: the first event is there before torch has loaded."""
    record = load_record(run)
    output_dir = record["config"]["training"]["output_dir"]
    checkpoints = checkpoint_folder(run, output_dir)
    resume, notices = checkpoint_to_resume(checkpoints)
    own = ProcessMark.own()
    append_event(
        run, "started", pid=own.pid, pid_start=own.start, resumed_from=resume.step if resume else None
    )
    for notice in notices:
        append_event(run, "notice", message=notice)
    append_event(run, "phase", name="starting", detail="loading the training libraries")
    if record.get("needs_network") is not True:
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        if Config.model_validate(record["config"]).training.all_processes > 1:
            launch_ranks(run, Config.model_validate(record["config"]))
        else:
            _work_here(ws, run, stop, resume)
    except StoppedEarly:
        if not stop.discard:
            raise
        _discard(run, checkpoints)


def _work_here(ws: Workspace, run: RunPaths, stop: StopWish, resume: Checkpoint | None) -> None:
    from medlora.training.session import Session

    quieten()
    fit_and_finish(Session(ws, run, load_record(run), stop), resume)


def quieten() -> None:
    """Keep what the libraries say out of the run's log, but for errors."""
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def fit_and_finish(session: Session, resume: Checkpoint | None) -> None:
    """Everything between the libraries' import and the run's end; in each of its processes."""
    from medlora.training.ranks import leave_ranks
    from medlora.training.report import finish
    from medlora.training.session import fetch_model, fit, load_examples

    session.phase("model", "looking for the base model")
    with session.ranks.first_before_others():
        files = fetch_model(session)
    examples = load_examples(session, files)
    fitted = fit(session, files, examples, resume)
    if fitted.stopped and any(session.ranks.any(session.stop.discard)):
        raise StoppedEarly
    leave_ranks(session.ranks)
    if session.ranks.first:
        finish(session, files, examples, fitted)


def _end_early(run: RunPaths) -> None:
    """Stopped before a step of its own: nothing is new, and what an earlier part left is still there."""
    output_dir = load_record(run)["config"]["training"]["output_dir"]
    kept = newest_valid(checkpoint_folder(run, output_dir))
    reason, hint = "Stopped before the first step, so there is no adapter", "Resume starts it again."
    if kept is not None:
        reason = f"Stopped before it went on: everything up to step {kept.step} is kept as it was"
        hint = "Resume continues from there."
    append_event(run, "ended", status="stopped", reason=reason, hint=hint)


def _discard(run: RunPaths, checkpoints: Path) -> None:
    remove_checkpoints(run)
    shutil.rmtree(checkpoints, ignore_errors=True)
    append_event(run, "ended", status="stopped", reason="Discarded: nothing was kept", hint=None)


def _end_badly(ws: Workspace, run: RunPaths, error: BaseException) -> int:
    """Go on with less at a time when memory ran out and that is possible; else write down the failure."""
    from medlora.training.failures import is_out_of_memory

    if is_out_of_memory(error) and _take_less(run):
        log.error("memory ran out\n%s", "".join(traceback.format_exception(error)))
        return 0 if relaunch_run(ws, run) else 3
    return _record_failure(run, error)


def _take_less(run: RunPaths) -> bool:
    """Halve the rows at a time in the run's setup; False when that cannot be done."""
    from medlora.training.device import load_setup, save_setup
    from medlora.training.shortage import halve_portion, portions

    path = run.root / "setup.json"
    setup, config = load_setup(path), Config.model_validate(load_record(run)["config"])
    smaller = halve_portion(setup, config) if setup else None
    if setup is None or smaller is None:
        return False
    (before, _), (batch, accumulation) = portions(setup, config), portions(smaller, config)
    newest = newest_valid(checkpoint_folder(run, config.training.output_dir))
    step = newest.step if newest else 0
    save_setup(path, smaller)
    append_event(
        run,
        "smaller_batch",
        micro_batch=batch,
        accumulation=accumulation,
        step=step,
        message=f"Memory ran out with {before} rows at a time. The run goes on from step {step} with {batch} "
        f"at a time, {accumulation} times a step: what it learns is the same.",
    )
    return True


def _record_failure(run: RunPaths, error: BaseException) -> int:
    from medlora.training.failures import explain, is_out_of_memory

    reason, hint = explain(error)
    if is_out_of_memory(error):
        hint = _advise(run)
    if isinstance(error, MedloraError):
        log.error("%s", reason)
    else:
        log.error("%s\n%s", reason, "".join(traceback.format_exception(error)))
    append_event(run, "ended", status="failed", reason=reason, hint=hint)
    return 3


def _advise(run: RunPaths) -> str:
    from medlora.training.device import pick_device
    from medlora.training.shortage import advise

    config = Config.model_validate(load_record(run)["config"])
    return advise(config, pick_device(), loaded=(run.root / "setup.json").exists())


def start_next(ws: Workspace) -> None:
    """The last act: the next run in the queue may begin. A hindrance does not change this run's end."""
    try:
        dispatch(ws)
    except (MedloraError, OSError):
        log.exception("the next run could not be started; the app will try again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
