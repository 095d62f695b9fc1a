"""The evaluation process: `python -m medlora.jobs.evaluation FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from medlora.jobs.frame import Report, quiet_transformers, run_job
from medlora.workspace import RunPaths


def work(request: Mapping[str, Any], run: RunPaths, report: Report) -> dict[str, Any]:
    """Why the heavy imports stand here: the first event is there before torch has loaded."""
    from medlora.jobs.evaluation.session import evaluate

    quiet_transformers()
    return evaluate(request, report)


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1:], "evaluation", work, "Stopped before the end, so there are no figures"))
