"""The first page of medlora against a bare Gradio app of as many tabs, interleaved.

    python -m benchmarks.startup [--rounds 5] [--json FILE]

Each round starts one app after the other as its user would, in a process of its own, and opens it in a
browser that has seen neither; which one begins changes every round. Measured: from the start of the process
until the server answers; from the first request until the first button can be pressed; from opening another
tab until its heading is there; the same page once more with the browser's cache warm. Beside the seconds on
the clock stand those of the processor (the server's until it answers, the page's main thread's until it can
be used): on a shared machine they are the steadier ones. The output holds every round and the medians.
medlora's first round begins in an empty home: it is told apart, since its app asks what the machine is, in a
process beside it that imports torch. An app finds that out at its very first start; here it is waited for
after that round, for the app is ended before it knows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medlora.models.hardware import report_hardware
from medlora.workspace import Workspace
from tests.install_chromium import find_chromium

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 120.0
STEPS = ("server_s", "page_s", "first_page_s", "server_cpu_s", "page_cpu_s", "cpu_s", "tab_s", "warm_page_s")
BARE = """
import os
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks(title="bare") as demo:
    with gr.Tabs():
        for name in ("Data", "Configure", "Train", "Chat", "Evaluate", "Adapters", "Safety"):
            with gr.Tab(name):
                gr.Markdown(f"## {name}")
                gr.Button("Press")
demo.launch(server_name="127.0.0.1", share=False, ssr_mode=False, quiet=True, prevent_thread_lock=False)
"""


@dataclass
class Side:
    """One app: how it is started, the button that says its page can be used, and what was measured."""

    name: str
    command: list[str]
    button: str
    rounds: list[dict[str, float]] = field(default_factory=list)

    def median(self, step: str) -> float:
        """Of every round but the first, in which files are read from the disk for the first time."""
        later = self.rounds[1:] or self.rounds
        return statistics.median(each[step] for each in later)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return with the first whole answer. Raises: SystemExit when the app ended or never came up."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                reply.read()
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise SystemExit(f"benchmark: {process.args!r} did not answer at {url}")


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        # With what they started themselves: it must not compete with the next side.
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=15)
        process.wait()


def measure(side: Side, browser: Browser, home: Path) -> dict[str, float]:
    """One start and two visits. Units: seconds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "MEDLORA_HOME": str(home), "CI": "1"}
    began = time.perf_counter()
    with running(side.command, environment) as process:
        wait_for_answer(url, process)
        answered = time.perf_counter()
        spent = psutil.Process(process.pid).cpu_times()
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.set_default_timeout(WAIT_S * 1000)
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        asked = time.perf_counter()
        page.goto(url, wait_until="commit")
        button = page.get_by_role("button", name=side.button, exact=True).first
        button.click(trial=True)
        usable = time.perf_counter()
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        page.get_by_role("tab", name="Adapters", exact=True).click()
        page.get_by_role("heading", name="Adapters", exact=True, level=2).wait_for()
        opened = time.perf_counter()
        page.goto("about:blank")
        again = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.get_by_role("tab", name="Data", exact=True).click(trial=True)
        warm = time.perf_counter()
        context.close()
    server, first = answered - began, usable - asked
    server_cpu, page_cpu = spent.user + spent.system, float(metrics["TaskDuration"])
    cpu = (server_cpu, page_cpu, server_cpu + page_cpu)
    times = (server, first, server + first, *cpu, opened - usable, warm - again)
    return {name: round(value, 3) for name, value in zip(STEPS, times, strict=True)}


def show_table(sides: list[Side]) -> str:
    mine, bare = sides
    lines = ["| median seconds | medlora | bare Gradio | ratio |", "|---|---|---|---|"]
    words = {
        "server_s": "until the server answers",
        "page_s": "from then until the page can be used",
        "first_page_s": "first page, both together",
        "server_cpu_s": "processor: server until it answers",
        "page_cpu_s": "processor: page until it can be used",
        "cpu_s": "processor: first page, both together",
        "tab_s": "opening another tab",
        "warm_page_s": "the page again, cache warm",
    }
    for step in STEPS:
        one, other = mine.median(step), bare.median(step)
        lines.append(f"| {words[step]} | {one:.2f} | {other:.2f} | {one / other:.2f} × |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write every round")
    options = parser.parse_args()
    sides = [
        Side("medlora", [sys.executable, str(ROOT / "app.py")], "Use the sample dataset"),
        Side("bare", [sys.executable, "-c", BARE], "Press"),
    ]
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with tempfile.TemporaryDirectory(prefix="medlora-startup-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
        home = Path(folder) / "home"
        for number in range(options.rounds + 1):
            for side in sides if number % 2 == 0 else sides[::-1]:
                side.rounds.append(measure(side, browser, home))
            report_hardware(Workspace.open(home))
        browser.close()
    report = {
        "versions": {name: version(name) for name in ("gradio", "playwright")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "first_round": {side.name: side.rounds[0] for side in sides},
        "median": {side.name: {step: round(side.median(step), 3) for step in STEPS} for side in sides},
        "ratio": {step: round(sides[0].median(step) / sides[1].median(step), 3) for step in STEPS},
        "rounds": {side.name: side.rounds for side in sides},
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(show_table(sides) + "\n")


if __name__ == "__main__":
    main()
