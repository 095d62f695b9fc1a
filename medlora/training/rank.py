"""One of several processes of a run: `python -m medlora.training.rank RUN_DIR`, started by torchrun.

The run's worker started it, waits for it, and writes the run's end where none of its processes did. What
went wrong here is left in a file beside the record; the traceback goes to the log.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from medlora.errors import UserError
from medlora.runs.process import ProcessMark, is_alive
from medlora.runs.store import load_record
from medlora.training.launch import OWNER, write_failure
from medlora.training.stopping import StopWish
from medlora.workspace import RunPaths, Workspace

if TYPE_CHECKING:
    from medlora.training.session import Session

log = logging.getLogger("medlora.training")
_LOOK_EVERY_S = 0.5


def main(argv: list[str]) -> int:
    """0 when the run's end is written (or the first process writes it), 3 when this process cannot go on."""
    if len(argv) != 1:
        sys.stderr.write("usage: torchrun … -m medlora.training.rank RUN_DIR\n")
        return 2
    rank = int(os.environ["RANK"])
    level = logging.INFO if rank == 0 else logging.ERROR
    logging.basicConfig(
        stream=sys.stderr, level=level, format=f"%(asctime)s %(levelname)s {rank}: %(message)s"
    )
    follow_owner()
    run = RunPaths(Path(argv[0]).resolve())
    stop = StopWish(run)
    stop.listen(answers=rank == 0)
    try:
        _train(Workspace.open(run.root.parent.parent), run, stop)
    except BaseException as error:  # noqa: BLE001 - the process's edge: what happened is written down
        log.error("%s", "".join(traceback.format_exception(error)))
        write_failure(run, rank, error)
        return 3
    return 0


def _train(ws: Workspace, run: RunPaths, stop: StopWish) -> None:
    from medlora.training.checkpoints import newest_valid
    from medlora.training.device import pick_device
    from medlora.training.ranks import join_ranks
    from medlora.training.session import Session
    from medlora.training.worker import fit_and_finish, quieten

    quieten()
    record = load_record(run)
    if record.get("needs_network") is not True:
        os.environ["HF_HUB_OFFLINE"] = "1"
    session = Session(ws, run, record, stop, join_ranks(pick_device()))
    check_world(session)
    fit_and_finish(session, session.ranks.decide(lambda: newest_valid(session.checkpoints)))


def check_world(session: Session) -> None:
    """Raises: UserError when other processes came together than the run asked for."""
    asked, came = session.config.training.all_processes, session.ranks.world
    if came != asked:
        raise UserError(
            f"training.num_processes: {came} processes came together (got {asked} with num_machines); start "
            "every machine with the line that the run's first notice gives"
        )


def follow_owner() -> None:
    """End this process when the one that waits for it is gone: killed, it cannot take its own along.

    Why so roughly: the process may be in the middle of a step, waiting for others that are gone too.
    """
    pid, _, start = os.environ.get(OWNER, "").partition(":")
    if not pid:
        return
    owner = ProcessMark(int(pid), float(start))

    def look() -> None:
        while is_alive(owner.pid, owner.start):
            time.sleep(_LOOK_EVERY_S)
        os._exit(4)

    threading.Thread(target=look, name="owner-watch", daemon=True).start()


def leave(code: int) -> None:
    """End this process. Why so roughly after a failure: on a GPU the group's own end may wait for the others,
    which wait for this process, until its launcher sees it gone and ends them."""
    if code:
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
