"""How others may reach the app: names it answers to, the login, a proxy in front, certificates.

Each option is a flag of `medlora app` and an environment variable, since a container has no flags.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from medlora.errors import UserError
from medlora.ui.guard import LOCAL_HOSTS

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+\]?")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,63}")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class AccessOptions:
    """login: ask for it also on this computer alone. hosts: further names the app answers to.

    proxies: addresses or networks whose X-Forwarded headers, and whose `login_header`, are believed.
    Units: session_hours.
    """

    login: bool = False
    hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    login_header: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    session_hours: float = 12.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> AccessOptions:
        """Raises: UserError for a number that is none."""
        hours = environ.get("MEDLORA_SESSION_HOURS", "").strip() or "12"
        try:
            session_hours = float(hours)
        except ValueError:
            raise UserError(f"env MEDLORA_SESSION_HOURS: not a number (got {hours!r}); write 12") from None
        certificate, key = (environ.get(name, "").strip() for name in ("MEDLORA_TLS_CERT", "MEDLORA_TLS_KEY"))
        return cls(
            login=environ.get("MEDLORA_LOGIN", "").strip().lower() in ("1", "true", "yes", "on"),
            hosts=_words(environ.get("MEDLORA_ALLOWED_HOSTS", "")),
            proxies=_words(environ.get("MEDLORA_TRUSTED_PROXIES", "")),
            login_header=environ.get("MEDLORA_LOGIN_HEADER", "").strip() or None,
            certificate=Path(certificate) if certificate else None,
            key=Path(key) if key else None,
            session_hours=session_hours,
        )

    def needs_login(self, host: str) -> bool:
        """Whether anybody but the person at this computer could reach the page."""
        opened = self.login or self.hosts or self.proxies or self.login_header
        return bool(opened) or host not in LOCAL_HOSTS

    def check(self) -> None:
        """Raises: UserError for an option that is malformed, or that means nothing without another."""
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise UserError(f"--allow-host: this is no host name (got {host[:80]!r}); leave out http://")
        self.networks()
        if self.login_header and not _HEADER.fullmatch(self.login_header):
            raise UserError(f"--login-header: this is no header's name (got {self.login_header[:80]!r})")
        if self.login_header and not self.proxies:
            raise UserError(
                "--login-header: anybody could send this header; name the proxy that sets it with "
                "--trusted-proxy ADDRESS"
            )
        if (self.certificate is None) != (self.key is None):
            raise UserError("--tls-cert, --tls-key: one needs the other; give both")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise UserError(
                    f"{path}: there is no such file; name the certificate and its key in PEM form"
                )
        if not 0 < self.session_hours <= 24 * 31:
            raise UserError(f"--session-hours: more than 0, at most 744 (got {self.session_hours:g})")

    def networks(self) -> tuple[Network, ...]:
        """The trusted proxies, as networks.

        Raises: UserError for what is no address.
        """
        try:
            return tuple(ipaddress.ip_network(text, strict=False) for text in self.proxies)
        except ValueError as error:
            raise UserError(f"--trusted-proxy: {error}; write 10.0.0.5 or 10.0.0.0/24") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\s,]+", text))


def served_names(host: str, options: AccessOptions) -> frozenset[str]:
    """What a browser may call this app: the Host header must be one of these.

    Why this computer's own addresses for `0.0.0.0`: a page elsewhere can make its own name point here, but it
    cannot make an address be called otherwise.
    """
    names = {*LOCAL_HOSTS, *(name.strip("[]").lower() for name in options.hosts)}
    if host in ("0.0.0.0", "::", ""):
        names |= {socket.gethostname().lower()}
        for addresses in psutil.net_if_addrs().values():
            names |= {item.address.split("%")[0].lower() for item in addresses if _is_ip(item.address)}
    else:
        names.add(host.strip("[]").lower())
    return frozenset(names)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return False
    return True
