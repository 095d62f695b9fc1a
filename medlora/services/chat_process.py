"""The chat process as the web process sees it: started, written to, read by a thread, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from medlora.runs.process import worker_environment
from medlora.workspace import Workspace, make_private

Message = dict[str, Any]

PROTOCOL = 2
_LOG_LIMIT = 1_000_000
_CLOSE_WAIT_S = 3.0


class ChatProcess:
    """One worker. Its messages and its end are reported by a thread of its own.

    Why pipes and a thread rather than select: Windows cannot wait on pipes.
    """

    def __init__(
        self,
        ws: Workspace,
        threads: int,
        on_message: Callable[[ChatProcess, Message], None],
        on_end: Callable[[ChatProcess, int], None],
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._write_lock = threading.Lock()
        log = _open_log(ws)
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "medlora.inference.worker", "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=make_private(ws.empty),
                env=worker_environment(ws, os.environ, offline=True),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
                | getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        finally:
            os.close(log)
        threading.Thread(target=self._read, name=f"chat-{self._child.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, message: Mapping[str, Any]) -> bool:
        """Write one message; False when the process no longer listens."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        try:
            with self._write_lock:
                assert self._child.stdin is not None
                self._child.stdin.write(line)
                self._child.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """End the process: its input ends, so it leaves; what does not leave is killed."""
        self._close_input()
        try:
            self._child.wait(_CLOSE_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process and its children at once."""
        try:
            family = [*psutil.Process(self._child.pid).children(recursive=True)]
        except psutil.Error:
            family = []
        self._child.kill()
        for process in family:
            try:
                process.kill()
            except psutil.Error:
                continue
        self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.endswith(b"\n"):
                self._on_message(self, json.loads(line))
        self._child.stdout.close()
        code = self._child.wait()
        self._close_input()
        self._on_end(self, code)

    def _close_input(self) -> None:
        assert self._child.stdin is not None
        try:
            with self._write_lock:
                self._child.stdin.close()
        except OSError:
            return


def _open_log(ws: Workspace) -> int:
    """The private log of the chat process; begun anew when it has grown long."""
    path = make_private(ws.logs) / "chat.log"
    too_long = path.exists() and path.stat().st_size > _LOG_LIMIT
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if too_long else os.O_APPEND)
    return os.open(path, flags, 0o600)
