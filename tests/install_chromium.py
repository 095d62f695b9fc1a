"""Find the Chromium that browser tests drive, or install one.

Debian's package where apt can be used, else Playwright's own build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def find_chromium() -> str | None:
    """The path of a Chromium: MEDLORA_CHROMIUM, one on PATH, or the one Playwright installed."""
    named = os.environ.get("MEDLORA_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def _install_with_apt() -> bool:
    if shutil.which("apt-get") is None:
        return False
    root = not hasattr(os, "geteuid") or os.geteuid() == 0
    prefix = [] if root else ["sudo", "-n"]
    if not root and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
        return False
    steps = (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium"])
    return all(subprocess.run([*prefix, *step], check=False).returncode == 0 for step in steps)


def main() -> int:
    """Exit 0 once a Chromium can be found."""
    if find_chromium():
        return 0
    print("Installing Chromium for the browser tests...", flush=True)
    if not _install_with_apt():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if find_chromium():
        return 0
    print(
        "Chromium: none was found and none could be installed; "
        "install Chromium or set MEDLORA_CHROMIUM to its path",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
