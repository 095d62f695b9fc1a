"""The server that may answer beside the models of this machine: where it is, and whether that is here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from medlora.config.settings_data import InferenceSettings


@dataclass(frozen=True)
class Server:
    """A server with OpenAI's interface. allowed: whether conversations may leave this machine for it."""

    base_url: str
    models: tuple[str, ...] = ()
    at_once: int = 4
    allowed: bool = False

    @property
    def host(self) -> str:
        """Host and port as people name them: `gpu.example:8000`."""
        return urlsplit(self.base_url).netloc.lower()

    @property
    def is_local(self) -> bool:
        return is_loopback(self.base_url)

    @property
    def may_be_asked(self) -> bool:
        return self.is_local or self.allowed


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine and nowhere else.

    Why no look-up: what a name means may change between the look and the request.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_of(inference: InferenceSettings) -> Server | None:
    """The server these settings name; None without one."""
    if inference.base_url is None:
        return None
    return Server(
        inference.base_url.rstrip("/"),
        tuple(inference.served_models),
        inference.served_at_once,
        inference.allow_remote,
    )
