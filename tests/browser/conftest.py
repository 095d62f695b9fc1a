"""A real app in a process of its own, and a real Chromium before it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.install_chromium import find_chromium

ROOT = Path(__file__).resolve().parents[2]
WAIT_MS = 60_000
"""How long a condition may take on a machine that has much else to do; a free one needs a tenth of it."""
expect.set_options(timeout=WAIT_MS)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HARDWARE = {
    "kind": "cpu", "name": "Test CPU", "total_gib": 8.0, "free_gib": 6.0, "cores": 2, "ram_total_gib": 8.0,
    "ram_free_gib": 6.0, "torch_version": "2.13.0", "bf16": False, "bitsandbytes": False,
    "flash_attn": False, "gpus": 0,
}  # fmt: skip


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class App:
    """The app as its user starts it; `kill` and `start` are what happens to real ones."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / "app.log"
        self.environment: dict[str, str | None] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        hardware = self.home.parent / "hardware.json"
        hardware.write_text(json.dumps(HARDWARE), encoding="utf-8")
        environment = {
            **os.environ,
            "MEDLORA_HOME": str(self.home),
            "MEDLORA_HARDWARE": str(hardware),
            "GRADIO_SERVER_PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            "CI": "1",
        }
        for name, value in self.environment.items():
            environment.pop(name, None) if value is None else environment.update({name: value})
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "app.py")], env=environment, stdout=log, stderr=log, cwd=ROOT
            )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.url, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"the app did not come up; its log:\n{self.read_log()}")

    def kill(self) -> None:
        """As the power button does."""
        self._end(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)

    def end(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process = self._process
        if process is None:
            return 0
        self._process = None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(10)

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else "(no log)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield  # type: ignore[misc]
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, App):
                report.sections.append(("the app's log", value.read_log()[-6000:]))
    return report  # type: ignore[no-any-return]


def run_app_in(folder: Path) -> Iterator[App]:
    app = App(folder / "home")
    app.home.mkdir(parents=True, exist_ok=True)
    app.start()
    try:
        yield app
    finally:
        app.end()


@pytest.fixture(scope="module")
def shared_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for the tests of a module that do not disturb each other."""
    yield from run_app_in(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    yield from run_app_in(tmp_path)


class Visit:
    """One page in one browser: what it asked for and what it complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note_console)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self) -> Page:
        self.page.goto(self.url)
        self.page.get_by_role("tab", name="Data").wait_for()
        return self.page

    def show(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab, exact=True).click()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[App], Visit]]:
    contexts = []

    def start(app: App) -> Visit:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        return Visit(page, app.url)

    yield start
    for context in contexts:
        context.close()
