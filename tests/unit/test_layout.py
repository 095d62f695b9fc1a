"""The shape of the code base: what the light part may import, and how large a room may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "medlora").rglob("*.py"))
HEAVY = ("torch", "peft", "accelerate", "bitsandbytes", "datasets", "transformers", "gradio", "pandas")


def _imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    assert _imported_by("import medlora") == set()


def test_the_command_line_starts_without_gradio_or_torch() -> None:
    assert _imported_by("import medlora.cli.root") == set()


def test_the_page_is_built_without_torch() -> None:
    assert _imported_by("import medlora.ui.page") & {"torch", "peft", "accelerate", "bitsandbytes"} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_room_with_a_sign_at_its_door(module: Path) -> None:
    source = module.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 320, "split it into a package with rooms of its own"
    tree = ast.parse(source)
    assert not tree.body or ast.get_docstring(tree), "a module says in its first line what it is for"


def test_no_code_trusts_remote_code_or_unpickles() -> None:
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, module
        assert "pickle.load" not in text, module
        assert "shell=True" not in text, module
