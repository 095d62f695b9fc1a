"""The head of every tab: what this is, what it runs on, what is running, and two things always true."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from medlora.errors import MedloraError
from medlora.models.hardware import report_hardware
from medlora.ui.present import duration, gib, text
from medlora.workspace import Workspace

log = logging.getLogger("medlora.ui")
_MEMORY_AGE_S = 10.0

LOGO = (
    '<svg viewBox="0 0 32 32" aria-hidden="true">'
    '<rect width="32" height="32" rx="8" fill="var(--ml-accent)"/>'
    '<path d="M6 17.5h4.6l2.4-7 4.2 12.5 3-8.2 1.4 2.7H26" fill="none" stroke="var(--ml-on-accent)" '
    'stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
SKIP = '<a class="ml-skip" href="#tabs">Skip to the content</a>'
"""For a keyboard: past the header and the strip of tabs; `reach.js` moves the focus."""
_CHIP = (
    '<svg viewBox="0 0 16 16" aria-hidden="true"><rect x="4" y="4" width="8" height="8" rx="1.5"/>'
    '<path d="M6 1.5v2M10 1.5v2M6 12.5v2M10 12.5v2M1.5 6h2M1.5 10h2M12.5 6h2M12.5 10h2"/></svg>'
)
_LOCK = (
    '<svg viewBox="0 0 16 16" aria-hidden="true"><rect x="3" y="7" width="10" height="7" rx="2"/>'
    '<path d="M5.5 7V5a2.5 2.5 0 0 1 5 0v2"/></svg>'
)
_AWAY = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6 3H3v10h10v-3M9 3h4v4M13 3 7.5 8.5"/></svg>'
_CARE = (
    '<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6"/>'
    '<path d="M8 5v3.5M8 10.8v.2"/></svg>'
)


@dataclass(frozen=True)
class Device:
    """What the header says about the machine. Units: GiB."""

    name: str
    free_gib: float | None
    total_gib: float | None


@dataclass(frozen=True)
class RunningJob:
    """The run in progress, as the header shows it."""

    run_id: str
    adapter: str
    status: str
    step: int
    total_steps: int | None
    eta_s: float | None
    phase: str = ""
    waiting: int = 0


def show_header(device: Device | None, *, local: bool, account: str = "", remote: str = "") -> str:
    """Name, device with its memory, the two sentences.

    account: who is logged in, if anybody has to. remote: the host of a server elsewhere that may be asked.
    """
    facts = []
    if device is not None:
        memory = f", {gib(device.free_gib)} of {gib(device.total_gib)} free" if device.total_gib else ""
        facts.append(f"<span>{_CHIP}{text(device.name)}{text(memory)}</span>")
    if local and remote:
        why = "What is written to its models leaves this machine; everything else stays here"
        facts.append(f'<span class="ml-remote" title="{why}">{_AWAY}Remote: {text(remote)}</span>')
    elif local:
        here = "Nothing leaves this server" if account else "Local: nothing leaves this machine"
        facts.append(f'<span class="ml-local">{_LOCK}{here}</span>')
    facts.append(f"<span>{_CARE}Not a medical device</span>")
    if account:
        facts.append(
            f'<form class="ml-account" method="post" action="/logout"><span>{text(account)}</span>'
            '<button type="submit">Log out</button></form>'
        )
    return (
        f'<header class="ml-header">{SKIP}<div class="ml-brand">{LOGO}<h1>medlora</h1></div>'
        f'<div class="ml-facts">{"".join(facts)}</div></header>'
    )


def show_running(job: RunningJob | None) -> str:
    """The strip under the header while a run is going; empty otherwise."""
    if job is None:
        return ""
    fraction = job.step / job.total_steps if job.total_steps else 0.0
    percent = round(100 * min(fraction, 1.0))
    where = (
        f"step {job.step:,} of {job.total_steps:,}"
        if job.total_steps and job.step
        else job.phase or "starting"
    )
    left = f" · {duration(job.eta_s)} left" if job.eta_s is not None else ""
    verb = {"queued": "Waiting", "stopping": "Stopping"}.get(job.status, "Training")
    more = f" · {job.waiting} waiting" if job.waiting else ""
    return (
        '<div class="ml-running"><button type="button" title="Show this run">'
        f"{verb} {text(job.adapter)}</button>"
        f'<div class="ml-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}" aria-label="{verb} {text(job.adapter)}">'
        f'<i style="width:{percent}%"></i></div>'
        f"<em>{text(where)}{text(left)}{text(more)}</em></div>"
    )


class DeviceWatch:
    """Asks once, in the background, what this machine is; afterwards its memory is looked up when shown.

    Why: the first answer comes from a process that imports torch, and the page must not wait for it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known = threading.Event()
        self._device: Device | None = None
        self._read_at = 0.0

    def start(self) -> None:
        threading.Thread(target=self._ask, name="ask-hardware", daemon=True).start()

    def _ask(self) -> None:
        try:
            self._read()
        except MedloraError as error:
            log.warning("the hardware is not known: %s", error)
            return
        self._known.set()

    def _read(self) -> None:
        found = report_hardware(self._workspace)
        name = f"CPU, {found.cores} cores" if found.kind == "cpu" else found.name
        self._device = Device(name, found.free_gib, found.total_gib)
        self._read_at = time.monotonic()

    def now(self) -> Device | None:
        """The device with its memory, at most ten seconds old; None while it is not known."""
        if self._known.is_set() and time.monotonic() - self._read_at > _MEMORY_AGE_S:
            self._read()
        return self._device
