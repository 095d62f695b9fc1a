"""Loaded by every Python that has this folder on its PYTHONPATH: writes down whom it talks to.

Why an audit hook: unlike a patched function it also sees what other modules have imported before.
"""

import os
import sys

_KINDS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
_LOG = os.environ.get("EGRESS_LOG")


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in _KINDS and _LOG:
        line = f"{event} {arguments[_KINDS[event]]!r} pid {os.getpid()} {' '.join(sys.argv[:3])}\n"
        handle = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, line.encode())
        os.close(handle)


sys.addaudithook(_note)
