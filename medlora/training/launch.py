"""A run in several processes: torchrun starts them, and the run's worker waits here for how they end.

On one machine nothing listens on the network: the processes find each other through a file in the run's
private folder, and talk over the loopback interface. Several machines meet at a port of the first one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from medlora.config.schema import Config
from medlora.errors import UserError
from medlora.runs.events import append_event, last_event
from medlora.runs.process import ProcessMark
from medlora.training.stopping import StoppedEarly
from medlora.workspace import RunPaths, make_private, write_json

OWNER = "MEDLORA_OWNER"
_RESUME = "Resume continues from the last complete checkpoint."


@dataclass(frozen=True)
class Failure:
    """Why one of the processes ended. kind: stopped, memory, peer (another one was gone) or other."""

    kind: str
    reason: str
    hint: str | None
    at: float


class RankError(Exception):
    """A process of the run failed; `failure` says why, in words for the user."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.reason)


def check_processes(config: Config, device: str, gpus: int) -> None:
    """Raises: UserError when this machine cannot hold that many processes."""
    count = config.training.num_processes
    if device == "mps" and count > 1:
        raise UserError(f"training.num_processes: an Apple GPU trains in one process (got {count}); write 1")
    if device == "cuda" and count > gpus:
        raise UserError(
            f"training.num_processes: each process needs a GPU of its own, and {gpus} may be used here "
            f"(got {count}); lower it, or name more in training.devices"
        )


def launch_ranks(run: RunPaths, config: Config) -> None:
    """Start the processes and wait until all have ended.

    Raises: StoppedEarly, RankError, UserError.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as run_torchrun

    from medlora.training.device import pick_device

    check_processes(config, pick_device(), torch.cuda.device_count())
    folder = _folder(run)
    shutil.rmtree(folder, ignore_errors=True)
    make_private(folder)
    before = dict(os.environ)
    _prepare_environment(folder, config)
    if config.training.num_machines > 1:
        append_event(run, "notice", message=say_how_to_join(run, config))
    try:
        run_torchrun(
            parse_args([*_torchrun_options(folder, config), "-m", "medlora.training.rank", str(run.root)])
        )
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        # A signal, which is a negative code, comes from outside; who lost a peer to it ends by itself.
        _explain_end(run, config, min(codes, default=1))
    except SignalException:
        _explain_end(run, config, -signal.SIGTERM)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()  # the next run, which this process starts, has threads and folders of its own
        os.environ.update(before)


def say_how_to_join(run: RunPaths, config: Config) -> str:
    """What is to be done on the other machines, which wait there for this one or are waited for."""
    options = " ".join(_meeting_options(config, "NUMBER"))
    return (
        f"Waiting for the other machines. On each, with its own NUMBER from 1 on: torchrun {options} "
        f"-m medlora.training.rank {run.root}"
    )


def _meeting_options(config: Config, number: str) -> list[str]:
    training = config.training
    address, _, port = (training.meeting_point or "").rpartition(":")
    return [
        f"--nnodes={training.num_machines}",
        f"--node-rank={number}",
        f"--nproc-per-node={training.num_processes}",
        f"--master-addr={address}",
        f"--master-port={port}",
        "--max-restarts=0",
    ]


def _torchrun_options(folder: Path, config: Config) -> list[str]:
    if config.training.num_machines > 1:
        return _meeting_options(config, "0")
    return [
        f"--nproc-per-node={config.training.num_processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={secrets.token_hex(8)}",
        f"--rdzv-endpoint={folder / 'meeting'}",
        "--rdzv-conf=store_type=file",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",
    ]


def _prepare_environment(folder: Path, config: Config) -> None:
    """What the processes inherit: who waits for them, where they meet, and their share of the cores."""
    from medlora.training.device import usable_cores
    from medlora.training.ranks import GROUP_FILE

    own = ProcessMark.own()
    loopback = _loopback()
    os.environ[OWNER] = f"{own.pid}:{own.start!r}"
    os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // config.training.num_processes))
    if config.training.num_machines > 1:
        return
    os.environ[GROUP_FILE] = str(folder / "group")
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # torchrun would open a port of its own
    if loopback:
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback


def _loopback() -> str | None:
    """The interface of 127.0.0.1: lo on Linux, lo0 on macOS."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(item.family == socket.AF_INET and item.address == "127.0.0.1" for item in addresses):
            return name
    return None


def write_failure(run: RunPaths, rank: int, error: BaseException) -> None:
    """Leave a note for the worker on why this process ends."""
    from medlora.training.failures import explain, is_out_of_memory, is_peer_gone

    reason, hint = explain(error)
    kind = "other"
    if isinstance(error, StoppedEarly):
        kind = "stopped"
    elif is_out_of_memory(error):
        kind = "memory"
    elif is_peer_gone(error):
        kind = "peer"
    note = {"kind": kind, "reason": reason, "hint": hint, "at": time.time()}
    write_json(make_private(_folder(run)) / f"failure-{rank}.json", note)


def _explain_end(run: RunPaths, config: Config, exit_code: int) -> None:
    """Raise what the first process that failed by itself ran into; nothing when the run's end is written."""
    end = last_event(run)
    if end is not None and end["kind"] == "ended":
        return
    failures = sorted(_read_failures(run), key=lambda failure: failure.at)
    own = [failure for failure in failures if failure.kind != "peer"]
    if own and own[0].kind == "stopped":
        raise StoppedEarly
    if own:
        raise RankError(own[0])
    count = config.training.all_processes
    how = f"by signal {-exit_code}" if exit_code < 0 else f"with code {exit_code}"
    reason = f"One of the run's {count} processes was ended from outside ({how}), so the others stopped too"
    raise RankError(Failure("other", reason, _RESUME, time.time()))


def _read_failures(run: RunPaths) -> list[Failure]:
    found = []
    for path in _folder(run).glob("failure-*.json"):
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found.append(Failure(**note))
    return found


def _folder(run: RunPaths) -> Path:
    return run.root / "ranks"
