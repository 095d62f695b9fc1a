"""From a chat's settings to weights that are at hand on this machine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from medlora.errors import UserError
from medlora.models.files import STARTER, ModelFiles, find_model
from medlora.models.hardware import cached_hardware
from medlora.models.starter import prepare_starter
from medlora.runs.queue import unfinished_runs
from medlora.services.adapters import AdapterCard, hold_adapter
from medlora.services.chat_events import AdapterFolder, ModelFolder
from medlora.services.chat_turn import ChatSettings
from medlora.workspace import Workspace

Progress = tuple[str, float | None]


class StoppedError(Exception):
    """The user pressed Stop while the model was being prepared."""


@contextmanager
def hold_weights(ws: Workspace, settings: ChatSettings) -> Iterator[AdapterCard | None]:
    """The adapter's card, kept from deletion meanwhile; None for the base model alone."""
    if settings.adapter is None:
        yield None
    else:
        with hold_adapter(ws, settings.adapter) as card:
            yield card


def prepare_model(ws: Workspace, name: str, stopped: Callable[[], bool]) -> Iterator[Progress | ModelFiles]:
    """The model's files, last; before them, for a starter that must be fetched first, its progress.

    Raises: UserError for a model that is not at hand; StoppedError.
    """
    files = find_model(ws, name)
    if files is None and name == STARTER:
        files = yield from _prepare_in_thread(ws, stopped)
    if files is None:
        raise UserError(
            f"model: {name} is not on this machine; start a run with it, which fetches it, "
            "or choose the starter model"
        )
    yield files


def _prepare_in_thread(ws: Workspace, stopped: Callable[[], bool]) -> Generator[Progress, None, ModelFiles]:
    """Why a thread: the work reports by a callback, and a chat waits by iterating."""
    news: queue.SimpleQueue[Progress | ModelFiles | BaseException] = queue.SimpleQueue()
    abandoned = threading.Event()

    def report(stage: str, fraction: float | None) -> None:
        if stopped() or abandoned.is_set():
            raise StoppedError
        news.put((stage, fraction))

    def work() -> None:
        try:
            news.put(prepare_starter(ws, report))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            news.put(error)

    threading.Thread(target=work, name="prepare-starter", daemon=True).start()
    try:
        while True:
            item = news.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, ModelFiles):
                return item
            yield item
    finally:
        abandoned.set()


def read_folders(
    card: AdapterCard | None, files: ModelFiles, *, eight_bit: bool
) -> tuple[ModelFolder, AdapterFolder | None]:
    """What the engine is told to load."""
    model = (card.config.get("model") if card else None) or {}
    quantization = model.get("quantization_config") or {}
    base = ModelFolder(files.name, str(files.path), bool(quantization.get("load_in_4bit", False)), eight_bit)
    return base, AdapterFolder(card.name, str(card.path)) if card else None


def training_device(ws: Workspace) -> str | None:
    """The kind of device (cuda, mps, cpu) a live training run uses; None without a run."""
    for _, state in unfinished_runs(ws):
        if state.status in ("running", "stopping"):
            planned = str(state.plan.get("device") or "").split(":")[0]
            hardware = None if planned else cached_hardware(ws)
            return hardware.kind if hardware else planned or "cpu"
    return None
