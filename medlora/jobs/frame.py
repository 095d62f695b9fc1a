"""What every long job is: a process of its own that reads its request, tells what it does, and ends in words.

It reads `request.json`, writes `events.jsonl` as a training run does, and at the end `result.json`. It is
ended by a stop file. Whatever goes wrong is one `ended` event with a reason in words.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medlora.errors import MedloraError
from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.stop import read_stop
from medlora.workspace import RunPaths, write_json

Report = Callable[[str, str, float | None], None]
Work = Callable[[Mapping[str, Any], RunPaths, Report], dict[str, Any]]


class StoppedError(Exception):
    """Somebody asked the job to end."""


def run_job(argv: list[str], name: str, work: Work, when_stopped: str) -> int:
    """0 when it ended as wished, 3 when it failed, 2 for a wrong call.

    work: from the request to the result; what it reports is also the moment to notice a stop.
    when_stopped: what a stop leaves behind, in words.
    """
    if len(argv) != 1:
        sys.stderr.write(f"usage: python -m medlora.jobs.{name} FOLDER\n")
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    warnings.simplefilter("ignore", FutureWarning)
    run = RunPaths(Path(argv[0]).resolve())
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start, resumed_from=None)
    append_event(run, "phase", name="starting", detail="loading the libraries", fraction=None)

    def report(phase: str, detail: str, fraction: float | None) -> None:
        if read_stop(run) is not None:
            raise StoppedError
        append_event(run, "phase", name=phase, detail=detail, fraction=fraction)

    try:
        request = json.loads((run.root / "request.json").read_text(encoding="utf-8"))
        write_json(run.root / "result.json", work(request, run, report))
    except StoppedError:
        append_event(run, "ended", status="stopped", reason=when_stopped)
        return 0
    except BaseException as error:  # noqa: BLE001 - the process's edge: every end is written down
        logging.getLogger(f"medlora.{name}").error("%s", "".join(traceback.format_exception(error)))
        known = isinstance(error, MedloraError)
        reason = str(error) if known else f"An unexpected error ({type(error).__name__})"
        append_event(
            run, "ended", status="failed", reason=reason, hint=None if known else "The log has more."
        )
        return 3
    append_event(run, "ended", status="completed", reason=None, hint=None)
    return 0


def quiet_transformers() -> None:
    """No progress bars and no chatter in a job's log."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
