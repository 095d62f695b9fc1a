"""Names that try to leave their folder, and code that would let files do harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medlora.errors import UserError
from medlora.services import adapters, configure, data, train
from medlora.workspace import CHECKOUT, Workspace, make_private, write_json

HOSTILE = [
    "../x",
    "..",
    ".",
    "/etc",
    "a/b",
    "a\\b",
    "C:x",
    "x\0y",
    "CON",
    "nul.txt",
    "com1",
    "x" * 300,
    "x.",
    " x",
    "x\n",
    "\u2215etc",
    "\uff0e\uff0e\uff0fx",
    "x\u202ey",
    "~root",
    "$HOME",
    "-rf",
    "",
]
Use = Callable[[Workspace, str], Any]
USES: dict[str, Use] = {
    "a run's folder": lambda ws, name: ws.run(name),
    "an adapter's folder": lambda ws, name: ws.adapter(name),
    "a dataset's folder": lambda ws, name: ws.dataset(name),
    "deleting an adapter": adapters.delete,
    "exporting an adapter": adapters.export_zip,
    "removing a run": train.remove,
    "removing a dataset": data.remove_dataset,
    "saving a template": lambda ws, name: configure.save_template(ws, name, "base_template: starter\n"),
}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("use", USES)
def test_a_name_that_is_more_than_a_name_is_refused_and_nothing_is_touched(
    tmp_path: Path, use: str, name: str
) -> None:
    ws = Workspace.open(tmp_path / "home")
    before = sorted(tmp_path.rglob("*"))
    if use == "saving a template" and name.strip() in ("x",):
        return  # what is typed there loses the blanks around it
    with pytest.raises(UserError):
        USES[use](ws, name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_an_adapters_folder_is_not_handed_out(tmp_path: Path) -> None:
    import zipfile

    ws = Workspace.open(tmp_path / "home")
    secret = tmp_path / "secret.json"
    secret.write_text("SECRET", encoding="utf-8")
    folder = make_private(ws.adapter("mine"))
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    write_json(folder / "adapter_config.json", {"r": 4})
    (folder / "linked.json").symlink_to(secret)
    with zipfile.ZipFile(adapters.export_zip(ws, "mine")) as archive:
        assert [name for name in archive.namelist() if "linked" in name] == []


MODULES = sorted((CHECKOUT / "medlora").rglob("*.py"))
FORBIDDEN = {
    "a pickle can run code": r"torch\.load\(|pickle\.loads?\(|joblib|weights_only=False",
    "code that comes with a model is never run": r"trust_remote_code\s*=\s*True",
    "YAML with tags can make objects": r"yaml\.(?:full_load|unsafe_load)\(|yaml\.load\((?!.*Loader)",
    "an archive may lead out of its folder": r"\.extractall\(|unpack_archive\(",
    "a cell that begins with = runs in a spreadsheet": r"csv\.(?:writer|DictWriter)|\.to_csv\(|\.to_excel\(",
    "a shell reads names as commands": r"shell\s*=\s*True|os\.system\(",
    "a tunnel opens the page to the world": r"share\s*=\s*True",
}


@pytest.mark.parametrize("why", FORBIDDEN)
def test_no_code_does_what_would_let_a_file_do_harm(why: str) -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(FORBIDDEN[why], line)
    ]
    assert found == []
