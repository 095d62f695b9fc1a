"""Starting and ending the app: its environment, its folders, its watch over the runs.

Why no gradio import at the top: Gradio reads its environment once, when it is imported, and the
uploads folder, telemetry and run history must be settled before that.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from medlora.errors import UserError, explain_disk
from medlora.ui.access_options import AccessOptions
from medlora.ui.guard import LOCAL_HOSTS
from medlora.workspace import Workspace, make_private

if TYPE_CHECKING:
    from medlora.services.chat_events import AnswerEngine
    from medlora.services.micro_run import MicroRuns
    from medlora.ui.gate import Identity
    from medlora.ui.open_page import OpenPage

log = logging.getLogger("medlora.app")
WATCH_INTERVAL_S = 2.0
LEAVING_S = 8.0
LARGEST_UPLOAD = "200mb"


@dataclass(frozen=True)
class LaunchOptions:
    """How the page is served. `port` None means the first free one from 7860."""

    host: str = "127.0.0.1"
    port: int | None = None
    open_browser: bool = False
    access: AccessOptions = field(default_factory=AccessOptions)
    frame_ancestors: str = "'none'"


@dataclass(frozen=True)
class Hosting:
    """What is different where medlora does not run on its user's own machine, as on a Space.

    identity: who is let in, instead of what the options say. engine: what speaks, instead of a chat process.
    banner: title and words that stand above every tab. hub_login: the Hub's login is used.
    short_runs: those that a demo's visitors may start.
    """

    identity: Identity | None = None
    engine: AnswerEngine | None = None
    banner: tuple[str, str] | None = None
    hub_login: bool = False
    short_runs: MicroRuns | None = None


def check_options(options: LaunchOptions) -> None:
    """Raises: UserError for options that are wrong, or that would let others run code."""
    options.access.check()
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UserError(f"--port: a port is a number from 1 to 65535 (got {options.port})")
    if os.environ.get("GRADIO_VIBE_MODE", "").strip():
        raise UserError(
            "env GRADIO_VIBE_MODE: it lets anyone who opens the page run code on this computer; unset it"
        )


def choose_identity(workspace: Workspace, options: LaunchOptions) -> Identity:
    """Who is let in: on this computer alone its owner; as soon as others can reach the page, its users.

    Raises: UserError where a login is needed and nobody could log in.
    """
    from medlora.access.roles import OWNER, Role
    from medlora.access.sessions import SessionLimits
    from medlora.services.users import Door
    from medlora.ui.gate import Everyone, HeaderLogin, PasswordLogin, Proxies

    access = options.access
    if not access.needs_login(options.host):
        return Everyone(OWNER)
    door = Door(workspace, SessionLimits(lifetime_s=access.session_hours * 3600))
    by_password = access.login_header is None
    admins = [user for user in door.users.all() if user.role == Role.ADMIN.value]
    if not any(user.password or not by_password for user in admins):
        raise UserError(
            f"--host: others could reach this address (got {options.host!r}), and there is no admin who "
            "could log in; add one first: python -m medlora users add NAME --role admin"
        )
    proxies = Proxies(access.networks())
    if access.login_header is not None:
        return HeaderLogin(door, proxies, access.login_header)
    if access.certificate is None and not access.proxies and options.host not in LOCAL_HOSTS:
        log.warning(
            "passwords cross the network unencrypted: give --tls-cert and --tls-key, or put a proxy with TLS "
            "in front and name it with --trusted-proxy"
        )
    return PasswordLogin(door, proxies)


def _session_name(process: psutil.Process) -> str:
    return f"{process.pid}-{int(process.create_time())}"


def _is_live(name: str) -> bool:
    pid = name.split("-", 1)[0]
    try:
        return pid.isdecimal() and _session_name(psutil.Process(int(pid))) == name
    except psutil.Error:
        return False


def open_uploads(workspace: Workspace) -> Path:
    """This process's private upload folder; those that dead processes left behind are wiped.

    Why: a killed app cannot clean up after itself, and an upload may hold what came from patients.
    """
    make_private(workspace.uploads)
    for folder in workspace.uploads.iterdir():
        if not _is_live(folder.name):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder, ignore_errors=True)
            else:
                folder.unlink(missing_ok=True)
    return make_private(workspace.uploads / _session_name(psutil.Process()))


def prepare_environment(workspace: Workspace) -> Path:
    """Settle what Gradio and its libraries read at import; returns the upload folder."""
    if os.name == "posix":
        os.umask(0o077)
    uploads = open_uploads(workspace)
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        GRADIO_RUN_HISTORY="False",
        # After each event Gradio sums up all events so far for a dashboard that we never serve.
        GRADIO_ANALYTICS_CACHE_FREQUENCY=str(10**12),
        GRADIO_ANALYTICS_MAX_EVENTS="100",
        GRADIO_SHARE="False",
        GRADIO_MCP_SERVER="False",
        GRADIO_TEMP_DIR=str(uploads),
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        # Who may speak for a visitor is decided by the gate, which knows the trusted proxies.
        FORWARDED_ALLOW_IPS="",
    )
    os.environ.pop("GRADIO_ALLOWED_PATHS", None)
    os.chdir(make_private(workspace.empty))
    return uploads


def watch_runs(supervise: Callable[[], object], ended: threading.Event) -> None:
    """Look after the runs until the app ends: start what is queued, notice what died."""
    failing = False
    while not ended.wait(WATCH_INTERVAL_S):
        try:
            supervise()
            failing = False
        except Exception:  # the watch must outlive one bad look
            if not failing:
                log.exception("the watch over the runs failed; it goes on")
            failing = True


@contextmanager
def without_collection() -> Iterator[None]:
    """Nobody looks for garbage while the app starts, nor ever among what it started with.

    Why: imports and the page make a million objects that stay. To go through them again and again was a
    fifth of the start, and a pause of the server's whenever a visitor opened the page.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _end_on_signals(ended: threading.Event) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)


def run_app(options: LaunchOptions | None = None, hosting: Hosting | None = None) -> None:
    """Serve the page until Ctrl-C or SIGTERM. Runs go on; the chat engine and the uploads do not."""
    options, hosting = options or LaunchOptions(), hosting or Hosting()
    check_options(options)
    workspace = Workspace.open()
    identity = hosting.identity or choose_identity(workspace, options)
    uploads = prepare_environment(workspace)
    ended = threading.Event()
    try:
        _serve(workspace, options, replace(hosting, identity=identity), ended)
    finally:
        ended.set()
        shutil.rmtree(uploads, ignore_errors=True)
        _leave_in_time()


def _leave_in_time() -> None:
    """Why: a connection or a thread that will not end must not keep the port after Ctrl-C."""
    last_resort = threading.Timer(LEAVING_S, os._exit, args=(0,))
    last_resort.daemon = True
    last_resort.start()


def _serve(workspace: Workspace, options: LaunchOptions, hosting: Hosting, ended: threading.Event) -> None:
    with ExitStack() as stack:
        with without_collection():
            page = _build(workspace, hosting)
            stack.callback(page.close)
            _end_on_signals(ended)
            _start_watch(workspace, page, hosting.short_runs, ended)
            address = page.open(options)
        print(f"medlora is at {address}   (Ctrl-C ends it; a training run goes on)", flush=True)  # noqa: T201
        ended.wait()


def _build(workspace: Workspace, hosting: Hosting) -> OpenPage:
    from medlora.ui.swift_import import import_gradio

    import_gradio()
    from medlora.safety.semantic import prepare_semantic_tier
    from medlora.ui.draft import policy_settings
    from medlora.ui.page import build_page

    page = build_page(workspace, hosting)
    if (policy_settings(workspace) or {}).get("semantic"):
        prepare_semantic_tier()
    return page


def _start_watch(
    workspace: Workspace, page: OpenPage, short_runs: MicroRuns | None, ended: threading.Event
) -> None:
    from medlora.services import train
    from medlora.services.audit import DailyPurge

    purge = DailyPurge(workspace)

    def look() -> None:
        train.supervise(workspace)
        if short_runs is not None:
            short_runs.look(workspace)
        page.chat.make_room()
        purge.look()

    threading.Thread(target=watch_runs, args=(look, ended), name="watch-runs", daemon=True).start()


def main() -> None:
    """`python app.py`: the same as `python -m medlora app`."""
    interactive = sys.stdin is not None and sys.stdin.isatty() and not os.environ.get("CI")
    try:
        options = LaunchOptions(
            host=os.environ.get("MEDLORA_HOST", "").strip() or "127.0.0.1",
            port=port_from_environment(),
            open_browser=interactive,
            access=AccessOptions.from_environment(),
        )
        run_app(options)
    except (UserError, OSError) as error:
        told = explain_disk(error)
        if told is None and isinstance(error, OSError):
            raise
        print(told or error, file=sys.stderr)  # noqa: T201
        sys.exit(2)


def port_from_environment() -> int | None:
    """Raises: UserError for a port that is no number."""
    named = os.environ.get("GRADIO_SERVER_PORT", "").strip()
    if named and not named.isdecimal():
        raise UserError(f"env GRADIO_SERVER_PORT: a port is a number from 1 to 65535 (got {named!r})")
    return int(named) if named else None
