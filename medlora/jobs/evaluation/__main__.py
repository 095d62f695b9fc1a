"""The evaluation process: `python -m medlora.jobs.evaluation FOLDER`.

It reads `request.json`, writes `events.jsonl` as a training run does, and at the end `result.json`. It is
ended by a stop file. Whatever goes wrong is one `ended` event with a reason in words.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from pathlib import Path

from medlora.errors import MedloraError
from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.stop import read_stop
from medlora.workspace import RunPaths, write_json


class StoppedError(Exception):
    """Somebody asked the evaluation to end."""


def main(argv: list[str]) -> int:
    """0 when it ended as wished, 3 when it failed."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m medlora.jobs.evaluation FOLDER\n")
        return 2
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    warnings.simplefilter("ignore", FutureWarning)
    run = RunPaths(Path(argv[0]).resolve())
    own = ProcessMark.own()
    append_event(run, "started", pid=own.pid, pid_start=own.start, resumed_from=None)
    append_event(run, "phase", name="starting", detail="loading the libraries", fraction=None)
    try:
        work(run)
    except StoppedError:
        append_event(run, "ended", status="stopped", reason="Stopped before the end, so there are no figures")
    except BaseException as error:  # noqa: BLE001 - the process's edge: every end is written down
        logging.getLogger("medlora.evaluation").error("%s", "".join(traceback.format_exception(error)))
        known = isinstance(error, MedloraError)
        reason = str(error) if known else f"An unexpected error ({type(error).__name__})"
        append_event(
            run, "ended", status="failed", reason=reason, hint=None if known else "The log has more."
        )
        return 3
    return 0


def work(run: RunPaths) -> None:
    """Why the heavy imports stand here: the first event is there before torch has loaded."""
    from transformers.utils import logging as transformers_logging

    from medlora.jobs.evaluation.session import evaluate

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    request = json.loads((run.root / "request.json").read_text(encoding="utf-8"))

    def report(name: str, detail: str, fraction: float | None) -> None:
        if read_stop(run) is not None:
            raise StoppedError
        append_event(run, "phase", name=name, detail=detail, fraction=fraction)

    result = evaluate(request, report)
    write_json(run.root / "result.json", result)
    append_event(run, "ended", status="completed", reason=None, hint=None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
