"""The documentation says what is true: links lead somewhere, commands exist and the cheap ones run."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import typer.main
import yaml
from typer.core import TyperGroup
from typer.testing import CliRunner

from medlora.cli import examples, reference
from medlora.cli.root import cli
from medlora.config.schema import section_names, setting_docs
from medlora.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / folder / "README.md" for folder in ("data", "adapters")),
]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = {"bash", "sh", "console", "powershell"}
PYTHON = re.compile(r"(?:.*[/\\])?python3?$|py$")
HARDWARE = ROOT / "tests" / "unit" / "ui" / "hardware_cpu.json"
# What these do takes no model, no network and well under a second.
RUN = {
    ("adapters", "list"), ("config", "list"), ("config", "show"),
    ("config", "validate"), ("data", "check"), ("data", "list"), ("data", "import"), ("doctor",),
    ("feedback", "list"), ("feedback", "votes"), ("runs", "list"), ("safety", "audit"), ("safety", "explain"),
    ("safety", "score"), ("safety", "verify"), ("safety", "what-if"), ("users", "list"),
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One fenced block. marked: why its commands are not looked at."""

    page: str
    marked: str
    language: str
    text: str

    def commands(self) -> Iterator[list[str]]:
        """Each command's words, without comments and variables set before it."""
        slashes = self.text.replace("\\\n", " ")
        slashes = slashes.replace("\\", "/") if self.language == "powershell" else slashes
        for line in slashes.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words


def read_blocks() -> list[Block]:
    return [
        Block(str(page.relative_to(ROOT)), *match)
        for page in PAGES
        for match in FENCE.findall(page.read_text(encoding="utf-8"))
    ]


BLOCKS = read_blocks()


def medlora_commands() -> list[tuple[str, list[str]]]:
    """(page, arguments) of every `python -m medlora …` in a block."""
    return [
        (block.page, words[3:])
        for block in BLOCKS
        if block.language in SHELLS
        for words in block.commands()
        if PYTHON.match(words[0]) and words[1:3] == ["-m", "medlora"]
    ]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@functools.cache
def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_a_picture_or_a_heading(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in [*LINK.findall(text), *re.findall(r'(?:src|href)="([^"]+)"', text)]:
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name) if name else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors_of(found), f"{page.name}: {target}: there is no such heading"


def test_every_page_and_picture_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    written = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "pictures").glob("*.png")]
    assert [path.name for path in written if path.resolve() not in linked] == []


def parse(words: list[str]) -> None:
    """Let the real command line read the words, without doing anything.

    Raises: the usage error that a user would see.
    """
    command: Any = typer.main.get_command(cli)
    context, name, rest = None, "medlora", list(words)
    while True:
        context = command.make_context(name, rest, parent=context)
        if not isinstance(command, TyperGroup):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


def test_the_reader_of_commands_finds_what_is_wrong() -> None:
    for words in ("data chekc x", "data check", "data check x --confg y", "runs compare --json", "serve"):
        with pytest.raises(Exception, match=r"(?i)no such|missing|invalid|requires"):
            parse(words.split())


def test_the_help_of_every_command_ends_with_examples_that_the_command_line_reads() -> None:
    commands = dict(reference.list_commands())
    assert set(examples.EXAMPLES) == set(commands)
    for words, command in commands.items():
        assert "Example" in command.epilog, words
        for example in examples.EXAMPLES[words]:
            assert example.startswith(words), example
            parse(shlex.split(re.split(r" [<>] ", example)[0]))


@pytest.mark.parametrize(
    ("page", "words"),
    medlora_commands(),
    ids=lambda value: "" if isinstance(value, str) else shlex.join(value),
)
def test_every_command_of_a_page_is_one_that_the_command_line_reads(page: str, words: list[str]) -> None:
    parse(words)
    for word in words:
        if word.startswith(("configs/", "data/sample", "adapters/demo", "docs/")):
            assert (ROOT / word).exists(), f"{page}: {word} is not there"


def cheap_commands() -> list[tuple[str, ...]]:
    return sorted(
        {
            tuple(words)
            for _, words in medlora_commands()
            if tuple(words[:2]) in RUN or tuple(words[:1]) in RUN
        }
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples call the reader's own."""
    folder = tmp_path_factory.mktemp("desk")
    rows = (ROOT / "data" / "sample_patient_education.jsonl").read_text(encoding="utf-8").splitlines()[:20]
    for name in ("my_data.jsonl", "notes.jsonl"):
        (folder / name).write_text("\n".join(rows), encoding="utf-8")
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Cases", 0)
    sheet.append(["id", "Patient asks", "ward", "Reply"])
    for number in range(8):
        sheet.append([number, f"How can I sleep better ({number})?", 3, f"Keep regular hours {number}."])
    book.save(folder / "cases.xlsx")
    (folder / "medlora").symlink_to(ROOT / "medlora")
    (folder / "my_config.yaml").write_text("base_template: starter\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("words", cheap_commands(), ids=shlex.join)
def test_what_costs_little_really_runs(
    words: tuple[str, ...], desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("MEDLORA_HOME", str(desk / "home"))
    monkeypatch.setenv("MEDLORA_HARDWARE", str(HARDWARE))
    done = CliRunner().invoke(cli, list(words))
    told = str(done.exception) if isinstance(done.exception, UserError) else done.output
    assert done.exit_code == 0, f"{shlex.join(words)}\n{told}"


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language in SHELLS}))
def test_every_other_command_is_known_or_marked_with_a_reason(page: str) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in BLOCKS:
        if block.page != page or block.language not in SHELLS or block.marked:
            continue
        for words in block.commands():
            place = f"{page}: {shlex.join(words)}"
            if words[0] == "make":
                assert words[1] in targets, place
            elif words[0] == "export":
                assert all("=" in word for word in words[1:]), place
            elif PYTHON.match(words[0]):
                check_python(words[1:], place)
            else:
                pytest.fail(f"{place}: nobody looks whether it works; mark it <!-- not run: why -->")


def check_python(words: list[str], place: str) -> None:
    words = [word for word in words if not re.fullmatch(r"-3\.\d+", word)]
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), f"{place}: there is no such file"
    elif words[1].startswith(("benchmarks", "tests", "medlora.")):
        module = ROOT.joinpath(*words[1].split("."))
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), place
    else:
        assert words[1] in ("medlora", "venv", "pip", "pytest"), place
        for flag, value in itertools.pairwise(words):
            assert flag != "-r" or (ROOT / value).is_file(), f"{place}: there is no {value}"


def test_commands_stand_in_blocks_that_say_so() -> None:
    for block in BLOCKS:
        said = block.language in SHELLS or "python -m" not in block.text
        assert said or block.marked, f"{block.page}: call the block bash: {block.text[:60]!r}"


def test_examples_of_yaml_and_json_are_what_they_say() -> None:
    for block in BLOCKS:
        if block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language in ("json", "jsonl"):
            for line in block.text.strip().splitlines():
                json.loads(line)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: b.page)
def test_examples_of_python_run(block: Block, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    code = compile(block.text, block.page, "exec")
    if not block.marked:
        exec(code, {})


def test_every_variable_that_the_code_reads_is_told() -> None:
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "medlora").rglob("*.py"))
    for name in set(re.findall(r"\bMEDLORA_[A-Z]+(?:_[A-Z]+)*\b", code)) - {"MEDLORA_SECTION"}:
        assert name in told, f"no page tells of {name}"


def test_the_guide_lists_every_command_as_the_command_line_has_it() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.refresh_page(page), "run python -m medlora.cli.reference"


def test_the_guides_tree_is_the_real_one() -> None:
    guide = (ROOT / "docs" / "engineer-guide.md").read_text(encoding="utf-8")
    tree = next(block.text for block in BLOCKS if block.text.startswith("app.py "))
    told = set()
    for line in tree.splitlines():
        name = line.split()[0]
        folder = ROOT / "medlora" if line.startswith("  ") else ROOT
        assert (folder / name).exists(), f"{name} is not there"
        told.add(folder / name)
    rooms = {path.parent for path in (ROOT / "medlora").glob("*/__init__.py")}
    assert rooms <= told, f"the tree leaves out {rooms - told}"
    tables = re.findall(r"`(medlora/[\w/]+\.py)`", guide)
    assert all((ROOT / name).is_file() for name in tables)


def test_every_setting_and_variable_that_a_page_names_exists() -> None:
    keys = {doc.key for doc in setting_docs()}
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "app.py", *(ROOT / "medlora").rglob("*.py")]
    )
    sections = "|".join(section_names())
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for key in re.findall(rf"`((?:{sections})\.[a-z_0-9.]+)`", text):
            known = key in keys or any(name.startswith(f"{key}.") for name in keys)
            assert known or key.endswith((".yaml", ".md")), f"{page.name}: {key} is no setting"
        for name in re.findall(r"\bMEDLORA_[A-Z_]+[A-Z]\b", text):
            assert name in code, f"{page.name}: nothing reads {name}"
