"""The Dockerfile, as far as it goes without Docker: its files exist, its commands run as there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medlora.workspace import CHECKOUT
from tests.browser.conftest import find_free_port

TEXT = re.sub(r"\\\n", "", (CHECKOUT / "Dockerfile").read_text(encoding="utf-8"))
PASSWORD = "correct horse battery"


def arguments(instruction: str) -> list[str]:
    """The JSON list after an instruction."""
    found = re.search(rf"^{instruction}\s.*?(\[.*\])$", TEXT, re.MULTILINE)
    assert found, instruction
    return [str(item) for item in json.loads(found[1])]


def copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
    return [name for line in lines for name in line.split()[:-1]]


def test_the_image_does_not_run_as_root_and_copies_what_there_is() -> None:
    users = re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)
    assert users == ["10001"]
    assert TEXT.index("USER 10001") < TEXT.index("ENTRYPOINT")
    assert [name for name in copied() if not (CHECKOUT / name).exists()] == []


def test_nothing_that_was_written_while_the_app_ran_gets_into_the_image() -> None:
    lines = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    assert not {"data", "adapters", "experiments", ".medlora", ".", "*"} & set(kept)
    assert [name for name in kept if not (CHECKOUT / name).exists()] == []


@pytest.mark.skipif(os.name != "posix", reason="the image is a Linux one")
def test_its_commands_serve_a_page_and_write_nowhere_but_in_the_data_folder(tmp_path: Path) -> None:
    app, home, scratch = tmp_path / "app", tmp_path / "data", tmp_path / "tmp"
    for folder in (app, home, scratch):
        folder.mkdir()
    for name in dict.fromkeys(copied()):
        source = CHECKOUT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, app / name)  # type: ignore[operator]
    variables = dict(re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.*)$", TEXT, re.MULTILINE)[1]))  # type: ignore[index]
    port = find_free_port()
    environment = {
        **{
            name: value.replace("/data", str(home)).replace("/tmp", str(scratch))
            for name, value in variables.items()
        },
        "PATH": os.environ["PATH"],
        "TMPDIR": str(scratch),
    }
    before = sorted(path.relative_to(app) for path in app.rglob("*"))
    command = [sys.executable, *arguments("ENTRYPOINT")[1:]]
    added = subprocess.run(
        [*command, "users", "add", "ada", "--role", "admin", "--password-stdin"],
        input=f"{PASSWORD}\n", cwd=app, env=environment, text=True, timeout=60, check=True,
        capture_output=True,
    )  # fmt: skip
    assert added.stdout == "ada: added as admin\n"
    serve = [*command, *(str(port) if item == "7860" else item for item in arguments("CMD"))]
    check = [item.replace("7860", str(port)) for item in arguments("HEALTHCHECK")]
    check[0] = sys.executable
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(serve, cwd=app, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            deadline = time.monotonic() + 90
            while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
                assert server.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.3)
        finally:
            server.terminate()
            server.wait(30)
    assert "passwords cross the network unencrypted" in (tmp_path / "log").read_text()
    assert sorted(path.relative_to(app) for path in app.rglob("*")) == before
