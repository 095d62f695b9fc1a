"""A run of a few steps that any visitor of a demo may start, on the sample dataset; kept for minutes.

Why bounds everywhere: a public demo is one small machine for everybody. Its visitors choose nothing (neither
data nor settings), wait for each other, and leave nothing of theirs in it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from medlora.errors import MedloraError, UserError
from medlora.models.hardware import Hardware, report_hardware
from medlora.runs.live import observe
from medlora.runs.process import ProcessMark, signal_tree
from medlora.runs.state import ACTIVE
from medlora.runs.store import find_run
from medlora.services import adapters, configure, data, train
from medlora.workspace import Workspace

_LOG = logging.getLogger(__name__)
NAME = "micro-run"
_TEMPLATE = "starter"


@dataclass(frozen=True)
class Bounds:
    """What one run may take.

    longest_s: then it is discarded. kept_s: how long it and its adapter stay after it has ended. rest_s: how
    long after it nobody may start another. free_gib, cores: what the machine must have.
    """

    steps: int = 10
    longest_s: float = 300.0
    kept_s: float = 600.0
    rest_s: float = 60.0
    free_gib: float = 4.0
    cores: int = 2


class MicroRuns:
    """The short runs of one demo; `look` is called every few seconds, `close` when the demo ends."""

    def __init__(
        self,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
        base_model: str = "starter",
    ) -> None:
        self.bounds = bounds or Bounds()
        self._clock = clock
        self._base_model = base_model
        self._lock = threading.Lock()
        self._run_id: str | None = None
        self._began = 0.0
        self._ended: float | None = None

    def why_not(self, ws: Workspace) -> str:
        """Why this machine offers none; empty where it does."""
        return _judge(report_hardware(ws), self.bounds)

    def start(self, ws: Workspace) -> str:
        """A new run's id.

        Raises: UserError while another one is going or has just ended, or where the machine is too small.
        """
        with self._lock:
            self._look(ws)
            self._refuse(ws)
            self._sweep(ws)
            sets = (
                f"model.base_model_name={self._base_model}",
                f"training.max_steps={self.bounds.steps}",
                f"training.save_steps={self.bounds.steps}",
                "training.gradient_accumulation_steps=2",  # half the rows of a step, and of the time
                "data.eval_dataset_size=0",
            )
            text = configure.read_template(ws, _TEMPLATE)
            dataset = data.use_sample(ws).name
            self._run_id = train.start(ws, text, dataset, train.StartOptions(_free_name(ws), sets=sets))
            self._began, self._ended = self._clock(), None
            return self._run_id

    def _refuse(self, ws: Workspace) -> None:
        if train.find_active(ws):
            raise UserError("micro-run: one is going already; watch it below, then start your own")
        if self._ended is not None and self._clock() - self._ended < self.bounds.rest_s:
            wait = max(1, round(self.bounds.rest_s - (self._clock() - self._ended)))
            raise UserError(f"micro-run: one has just ended; try again in {wait} seconds")
        if why_not := self.why_not(ws):
            raise UserError(f"micro-run: {why_not}")

    def look(self, ws: Workspace) -> None:
        """Discard the run that takes too long, remove the one that was kept long enough."""
        with self._lock:
            self._look(ws)

    def _look(self, ws: Workspace) -> None:
        if self._run_id is None:
            return
        if observe(find_run(ws, self._run_id)).status in ACTIVE:
            if self._clock() - self._began > self.bounds.longest_s:
                train.discard(ws, self._run_id)
            return
        self._ended = self._clock() if self._ended is None else self._ended
        if self._clock() - self._ended > self.bounds.kept_s:
            self._sweep(ws)

    def _sweep(self, ws: Workspace) -> None:
        """Remove what earlier runs left, except an adapter that answers somebody just now."""
        for run in train.list_runs(ws):
            if run.run_id == self._run_id or run.adapter_name.startswith(NAME):
                train.remove(ws, run.run_id)
        for card in adapters.list_adapters(ws):
            if card.name.startswith(NAME):
                try:
                    adapters.delete(ws, card.name)
                except UserError as error:
                    _LOG.info("an adapter of a micro-run stays for now: %s", error)
        self._run_id = None

    def close(self, ws: Workspace) -> None:
        """End the run that is going: nothing of it is to be kept, and its folder goes."""
        with self._lock:
            if self._run_id is None:
                return
            try:
                state = observe(find_run(ws, self._run_id))
            except MedloraError:
                return
            if state.status in ACTIVE and state.pid is not None and state.pid_start is not None:
                signal_tree(ProcessMark(state.pid, state.pid_start), kill=True, run_id=self._run_id)


def _judge(hardware: Hardware, bounds: Bounds) -> str:
    if hardware.cores < bounds.cores:
        return f"this machine has too few processor cores (got {hardware.cores}, {bounds.cores} are needed)"
    free = min(hardware.free_gib, hardware.ram_free_gib)
    if free < bounds.free_gib:
        return f"this machine has too little free memory (got {free:.1f} GiB, {bounds.free_gib:g} are needed)"
    return ""


def _free_name(ws: Workspace) -> str:
    taken = {card.name for card in adapters.list_adapters(ws)}
    return next(
        name for number in range(1, 100) if (name := NAME if number == 1 else f"{NAME}-{number}") not in taken
    )
