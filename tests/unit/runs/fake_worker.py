"""A worker without a model, for tests of processes and queues: `fake_worker.py BEHAVIOUR RUN_DIR`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from medlora.runs.events import append_event
from medlora.runs.process import ProcessMark
from medlora.runs.stop import read_stop
from medlora.workspace import RunPaths


def main(behaviour: str, run: RunPaths) -> None:
    mark = ProcessMark.own()
    append_event(run, "started", pid=mark.pid, pid_start=mark.start, resumed_from=None)
    print("said on stdout")
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if behaviour == "crash":
        raise SystemExit(9)
    deadline = time.monotonic() + (0.3 if behaviour == "quick" else 60)
    step = 0
    while time.monotonic() < deadline:
        step += 1
        append_event(run, "step", step=step, total_steps=1000, loss=3.0 / step)
        stop = read_stop(run)
        if stop and behaviour != "deaf":
            append_event(run, "phase", name="stopping", detail="")
            append_event(run, "ended", status="stopped", reason="asked", steps=step)
            return
        time.sleep(0.05)
    append_event(run, "ended", status="completed", steps=step)


if __name__ == "__main__":
    main(sys.argv[1], RunPaths(Path(sys.argv[2])))
