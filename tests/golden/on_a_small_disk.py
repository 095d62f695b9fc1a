"""A run on a disk that fills up: `unshare -Urm python on_a_small_disk.py HOME WHAT` prints what became of it.

In a mount namespace of its own, so that nobody needs to be root. WHAT: `checkpoints` puts only those on the
small disk, `home` all that is written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from medlora.runs.live import observe
from medlora.runs.queue import requeue_run
from medlora.training.checkpoints import newest_valid
from medlora.workspace import RunPaths
from tests.golden.kit import Kit, end_of, events_of

SETUP = {"flat": True, "label_only": True, "micro_batch": 4, "accumulation": 1}
TRAINING = {"max_steps": 8, "save_steps": 2, "eval_steps": 100, "logging_steps": 1}


def mount(folder: Path, size: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def main(home: Path, what: str) -> None:
    disk = home if what == "home" else home / "small"
    if what == "home":
        mount(home, "64m")
    kit = Kit(home)
    whole = kit.make_run(kit.config(training=TRAINING), SETUP)
    assert kit.work(whole) == 0, end_of(whole)
    # A whole run leaves one checkpoint; there is room for two and not for a third.
    checkpoint = sum(path.stat().st_size for path in whole.checkpoints.rglob("*") if path.is_file())
    changes = {} if what == "home" else {"output_dir": str(disk)}
    run = kit.make_run(kit.config(training=TRAINING | changes), SETUP)
    folder = run.checkpoints if what == "home" else disk / run.run_id
    if what == "home":
        resize(disk, f"{(shutil.disk_usage(disk).used + int(checkpoint * 2.5)) // 1024 + 96}k")
    else:
        mount(disk, f"{int(checkpoint * 2.5) // 1024}k")
    first = kit.work(run)
    kept = newest_valid(folder)
    failed = end_of(run)
    resize(disk, "64m")
    requeue_run(kit.ws, run)
    second = kit.work(run)
    print(
        json.dumps(
            {
                "first": first,
                "failed": {key: failed[key] for key in ("status", "reason", "hint")},
                "kept": kept.step if kept else None,
                "second": second,
                "resumed_from": _resumed(run),
                "status": observe(run).status,
                "same": kit.adapter_bytes("tiny-2") == kit.adapter_bytes("tiny"),
            }
        )
    )


def _resumed(run: RunPaths) -> int | None:
    step: int | None = events_of(run, "started")[-1]["resumed_from"]
    return step


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
