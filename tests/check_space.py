"""Starts the repository as a Space would and looks at it: `python tests/check_space.py [--port 7860]`.

Covered: a copy of what git would push, owned by user 1000 (where this is started by root), the variables that
a Space sets, the port, and what an anonymous visitor can and cannot do. The front matter has a unit test.
Not covered: the Hub itself, its proxy and its login, ZeroGPU's lending.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.gradio_http import Script  # noqa: E402 - the checkout is not installed

HOST = "clinic-medlora.hf.space"
USER = 1000
CRISIS = "He collapsed and is not breathing"
PHI = "Patient John Smith, MRN 12345678: what do his results mean?"


def copy_checkout(target: Path) -> None:
    """What git would push: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def can_run(python: str) -> bool:
    """Whether user 1000 may run this interpreter, which may lie in somebody's home."""
    try:
        done = subprocess.run([python, "-c", ""], user=USER, group=USER, extra_groups=[], check=False)
    except PermissionError:
        print("note  user 1000 may not run this Python; name another with --python, or it runs as you")
        return False
    return done.returncode == 0


def environment(folder: Path, port: int) -> dict[str, str]:
    """The variables a Space sets, and no others that could help."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "MEDLORA_MODELS") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "SYSTEM": "spaces",
        "SPACE_ID": "clinic/medlora",
        "SPACE_HOST": HOST,
        "SPACE_AUTHOR_NAME": "clinic",
        "SPACE_REPO_NAME": "medlora",
        "SPACE_TITLE": "medlora",
        "ACCELERATOR": "none",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SSR_MODE": "True",
        "GRADIO_ANALYTICS_ENABLED": "True",
        "GRADIO_ALLOW_FLAGGING": "never",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        # For an interpreter that is not this one: the same packages.
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }


@contextmanager
def running_space(
    folder: Path, port: int, python: str = sys.executable, more: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of the Space, running as user 1000 in a copy of the checkout; more: further variables."""
    app = folder / "app"
    copy_checkout(app)
    (folder / "tmp").mkdir()
    user: dict[str, int] = {}
    if os.name == "posix" and os.geteuid() == 0 and can_run(python):
        user = {"user": USER, "group": USER}
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
    log = folder / "space.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "app.py"],
            cwd=app,
            env=environment(folder, port) | dict(more or {}),
            stdout=output,
            stderr=output,
            extra_groups=[] if user else None,
            **user,  # type: ignore[arg-type]
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await_page(process, url, log)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def await_page(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise SystemExit(f"the Space did not come up:\n{log.read_text('utf-8', 'replace')}")


def findings(url: str) -> Iterator[tuple[str, bool]]:
    """Each thing that was looked at, and whether it is as it should be."""
    as_visitor = {"Host": HOST, "Origin": f"https://{HOST}"}
    page = httpx.get(url, headers={"Host": HOST}, trust_env=False, timeout=30)
    yield "the page answers by the Space's name", page.status_code == 200
    policy = page.headers.get("content-security-policy", "")
    yield "the Hub may frame it", "frame-ancestors https://huggingface.co" in policy
    stranger = httpx.get(url, headers={"Host": "evil.example"}, trust_env=False)
    yield "another name is refused", stranger.status_code == 400
    with Script(url, as_visitor).open() as script:
        files = {"files": ("x.jsonl", b"{}", "application/json")}
        upload = script.client.post("/gradio_api/upload", files=files)
        yield "a visitor cannot upload", upload.status_code == 403
        text = json.dumps(script.config)
        yield "the banner says that nothing is kept", "enter no patient data" in text
        press = script.press
        speaker = {"chat-speaker": "adapter:demo-patient-education"}
        said = press("chat-send", **{"chat-message": CRISIS, **speaker})
        yield "an emergency is answered by the fixed text", "ml-fixed-emergency" in str(said.data)
        started = press("train-start", **{"train-dataset": None})
        shown = [value for value in started.data if isinstance(value, str) and value]
        yield "a visitor cannot train", shown == []
    with Script(url, as_visitor) as script:
        watched = script.call(script.dependency_of_load("train-run"))
        yield "the recorded run is there to look at", "demo-patient-education" in json.dumps(watched.data)
        refused = script.open().press("chat-phi", "agree", **{"chat-message": PHI, **speaker})
        yield "what may identify a person is not taken", any("identify" in toast for toast in refused.toasts)
        tried = script.press("micro-run-start")
        told = json.dumps(tried.data) + " ".join(tried.toasts)
        yield "a short run starts, or it is said why not", "micro-run" in told
        again = script.press("micro-run-start")
        yield "nobody starts a second one beside it", any("micro-run" in toast for toast in again.toasts)


def findings_after(folder: Path) -> Iterator[tuple[str, bool]]:
    """What is left when the Space has ended."""
    deadline = time.monotonic() + 10
    while (alive := _workers_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    yield "no run goes on after the end", not alive
    yield "nothing is kept after the end", list((folder / "tmp").glob("medlora-demo-*")) == []


def _workers_in(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        ended = process.info["status"] == psutil.STATUS_ZOMBIE
        if not ended and any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def main() -> None:
    """Print each finding; exit 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that user 1000 may run")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="space-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with running_space(folder, options.port, options.python) as url:
            for what, right in findings(url):
                print(f"{'ok   ' if right else 'WRONG'} {what}")
                wrong += not right
        for what, right in findings_after(folder):
            print(f"{'ok   ' if right else 'WRONG'} {what}")
            wrong += not right
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
