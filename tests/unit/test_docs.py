"""The documentation says what is true: links resolve and commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "data" / "README.md"]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_local_link_of_a_page_resolves(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def _commands() -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language not in {"bash", "console", "sh"}:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(r"(?:^|[\s/])python3? -m medlora (.*)", line.split(" #")[0])
                if match:
                    found.append((f"{page.name}: {line.strip()}", shlex.split(match[1].split("|")[0])))
    return found


@pytest.mark.parametrize(
    ("place", "words"), _commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_in_the_docs_exists(place: str, words: list[str]) -> None:
    verbs = []
    for word in words:
        if not re.fullmatch(r"[a-z]+", word) or len(verbs) == 2:
            break
        verbs.append(word)
    done = subprocess.run(
        [sys.executable, "-m", "medlora", *verbs[:2], "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode and len(verbs) == 2:  # the second word was an argument, not a verb
        done = subprocess.run(
            [sys.executable, "-m", "medlora", verbs[0], "--help"], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, f"{place}\n{done.stderr}"
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert option in done.stdout, f"{place}: {option} is not an option"
