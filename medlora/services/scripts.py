"""Test scripts: a list of prompts put to chosen speakers in the background, then judged one after another.

Every prompt goes through `ChatService`, so that the safety layer judges it like any message. All state is on
disk: a reload, another browser or a new start of the app finds it; a run that was cut off goes on where it
was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, cast

from medlora.config.schema import Config
from medlora.dataset.phi import find_phi
from medlora.errors import MedloraError, NotFoundError, UserError
from medlora.feedback import scripts
from medlora.feedback.scripts import Owner, Prompt, Script, Seat
from medlora.runs.process import ProcessMark, is_alive
from medlora.services import feedback
from medlora.services.blind import settle_seats
from medlora.services.chat import ChatService, ChatSettings, ChatUpdate
from medlora.services.chat_audit import log_failure
from medlora.services.script_files import check_prompts, read_prompts
from medlora.workspace import Workspace

__all__ = [
    "Prompt",
    "Script",
    "ScriptRunner",
    "ScriptState",
    "Seat",
    "create_script",
    "delete_script",
    "list_scripts",
    "read_prompts",
    "read_state",
    "run_script",
    "stop_script",
]

Status = Literal["new", "running", "stopping", "interrupted", "stopped", "failed", "complete"]
MOST_SEATS = 4
_LOOK_S = 1.0


@dataclass(frozen=True)
class ScriptState:
    """How far a script is.

    interrupted: whoever ran it is gone; it can go on. problem: why it ended early.
    """

    script: Script
    status: Status
    done: int

    @property
    def total(self) -> int:
        return len(self.script.prompts)

    @property
    def going(self) -> bool:
        return self.status in ("running", "stopping")


def create_script(ws: Workspace, name: str, prompts: Sequence[Prompt], seats: Sequence[Seat]) -> Script:
    """A new script; it does not run yet.

    Raises: UserError for no prompts, too many or too long ones, no speaker, too many or the same one twice.
    """
    if not seats or len(seats) > MOST_SEATS:
        raise UserError(
            f"script: who answers: 1 to {MOST_SEATS} can answer side by side (got {len(seats)}); choose them"
        )
    if len(set(seats)) < len(seats):
        raise UserError("script: who answers: the same one is chosen twice; choose each once")
    title = feedback.clean_name(name) or "Test script"
    return scripts.save_script(ws, Script(title, check_prompts(prompts), tuple(seats)))


def list_scripts(ws: Workspace) -> list[ScriptState]:
    """Every script with its state, the newest first."""
    return [_state(ws, script) for script in scripts.list_scripts(ws)]


def read_state(ws: Workspace, script_id: str) -> ScriptState:
    """One script's state, from disk alone.

    Raises: NotFoundError.
    """
    return _state(ws, scripts.read_script(ws, script_id))


def _state(ws: Workspace, script: Script) -> ScriptState:
    done = scripts.count_answered(ws, script)
    owner = script.owner
    status: Status
    if owner is not None and is_alive(owner.pid, owner.start):
        status = "stopping" if script.stop else "running"
    elif done == len(script.prompts):
        status = "complete"
    elif owner is not None:
        status = "interrupted"
    elif script.problem:
        status = "failed"
    else:
        status = "stopped" if done or script.stop else "new"
    return ScriptState(script, status, done)


# Run
def run_script(
    ws: Workspace, service: ChatService, script_id: str, config: Config | None = None
) -> ScriptState:
    """Ask what was not asked yet; returns when all is answered, somebody said stop, or it failed.

    config: names the server of those that a server offers; without it, the one that is being written.
    Raises: UserError when it is running already, or one of its speakers is gone.
    """
    _run_claimed(ws, service, _claim(ws, script_id), config=config)
    return read_state(ws, script_id)


def _claim(ws: Workspace, script_id: str) -> Script:
    state = read_state(ws, script_id)
    mark = ProcessMark.own()
    if state.going or not scripts.claim_script(ws, state.script, Owner(mark.pid, mark.start)):
        raise UserError(f"script {state.script.name}: it is running already")
    return state.script


def _run_claimed(
    ws: Workspace,
    service: ChatService,
    script: Script,
    user: str | None = None,
    config: Config | None = None,
) -> None:
    problem = "it broke off"
    try:
        settings = settle_seats(service, script.seats, user, config)
        _check_leaving(script, settings)
        _ask_all(ws, service, script, settings)
        problem = ""
    except MedloraError as error:
        problem = str(error)
        raise
    finally:
        scripts.release_script(ws, script.script_id, problem)


def _check_leaving(script: Script, settings: Sequence[ChatSettings]) -> None:
    """Raises: UserError for a prompt that seems to name a person and would leave this machine.

    Why no question as in the chat: nobody sits before a script while it runs.
    """
    host = next((each.remote_host for each in settings if each.remote_host), "")
    for number, prompt in enumerate(script.prompts if host else (), 1):
        kinds = list(dict.fromkeys(span.kind.replace("_", " ") for span in find_phi(prompt.text)))
        if kinds:
            raise UserError(
                f"script {script.name}: prompt {number} may identify a person ({', '.join(kinds)}) and would "
                f"leave this machine for {host}; write it anew, or let models of this machine answer"
            )


def _ask_all(ws: Workspace, service: ChatService, script: Script, settings: Sequence[ChatSettings]) -> None:
    answered = scripts.read_answers(ws, script)
    for position, prompt in enumerate(script.prompts):
        if position in answered:
            continue
        turns = [{"role": "user", "content": prompt.text}]
        updates = _ask_one(ws, service, script, turns, settings)
        if updates is None:
            return
        given = [feedback.describe_answer(turns, u, s) for u, s in zip(updates, settings, strict=True)]
        if not scripts.keep_answers(ws, script.script_id, position, given):
            return


def _ask_one(
    ws: Workspace,
    service: ChatService,
    script: Script,
    turns: list[dict[str, str]],
    settings: Sequence[ChatSettings],
) -> tuple[ChatUpdate, ...] | None:
    """The answers of all to one prompt; None once somebody said stop, or the script was deleted.

    Raises: UserError for one that could not answer.
    """
    looked, last = 0.0, tuple[ChatUpdate, ...]()
    if _is_unwanted(ws, script):
        return None
    updates = service.compare(script.script_id, turns, settings)
    with closing(cast("Generator[tuple[ChatUpdate, ...], None, None]", updates)) as growing:
        for last in growing:  # noqa: B007 - what is read after the loop
            if time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                if _is_unwanted(ws, script):
                    return None
    if any(update.stopped for update in last):
        return None
    broken = next((update.error for update in last if update.error), None)
    if broken:
        raise UserError(f"script {script.name}: it stopped at a prompt that was not answered ({broken})")
    return last


def _is_unwanted(ws: Workspace, script: Script) -> bool:
    try:
        return scripts.read_script(ws, script.script_id).stop
    except NotFoundError:
        return True


def stop_script(ws: Workspace, script_id: str) -> None:
    """Ask the run to end; what was answered stays, and it can go on later.

    Raises: NotFoundError.
    """
    scripts.read_script(ws, script_id)
    scripts.request_stop(ws, script_id)


def delete_script(ws: Workspace, script_id: str) -> None:
    """Delete a script for good; answers that were rated or voted on stay with what was said of them.

    Raises: NotFoundError.
    """
    scripts.delete_script(ws, script_id)


class ScriptRunner:
    """Runs scripts in the app's background, one at a time; they share the chat's queue with everybody."""

    def __init__(self, ws: Workspace, service: ChatService) -> None:
        self._ws = ws
        self._service = service
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, script_id: str, user: str | None = None) -> None:
        """Begin, or go on; returns at once. user: who asks, for the audit.

        Raises: UserError while another script is running here; NotFoundError.
        """
        state = read_state(self._ws, script_id)
        if state.status == "complete":
            raise UserError(f"script {state.script.name}: all is answered already; rate the answers")
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                raise UserError("script: another one is running; wait for it, or stop it")
            script = _claim(self._ws, script_id)
            self._thread = threading.Thread(
                target=self._run, args=(script, user), name="test-script", daemon=True
            )
            self._thread.start()

    def stop(self, script_id: str) -> None:
        """End the run at once; what was answered stays. Pressing again changes nothing.

        Raises: NotFoundError.
        """
        stop_script(self._ws, script_id)
        self._service.stop(script_id)

    def wait(self, timeout_s: float) -> None:
        """Until the present run has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self, script: Script, user: str | None) -> None:
        try:
            _run_claimed(self._ws, self._service, script, user)
        except MedloraError:
            pass  # its reason is on disk, where the page reads it
        except Exception as error:  # noqa: BLE001 - the thread's edge: that it broke is on disk, where in the log
            log_failure("a test script broke off", error)
