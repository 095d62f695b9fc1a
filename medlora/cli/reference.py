"""The table of all commands in docs/engineer-guide.md, written from the command line itself.

`python -m medlora.cli.reference` rewrites the part of the page between its two marks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.core import TyperGroup

from medlora.cli.root import cli

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "engineer-guide.md"
_BEGIN = "<!-- commands: written by python -m medlora.cli.reference -->"
_END = "<!-- end of commands -->"


def list_commands() -> Iterator[tuple[str, Any]]:
    """Every command with its words, in the order of the help."""
    yield from _below(typer.main.get_command(cli), ())


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        yield " ".join(words), command
        return
    for name, child in command.commands.items():
        yield from _below(child, (*words, name))


def render_commands() -> str:
    """One row a command: how it is called, and what it does."""
    rows = [
        f"| `{words}{_arguments(command)}` | {_first(command.help)} |" for words, command in list_commands()
    ]
    return "\n".join(["| `python -m medlora …` | what it does |", "|---|---|", *sorted(rows)])


def _arguments(command: Any) -> str:
    names = [item for item in command.params if item.param_type_name == "argument"]
    return "".join(f" {item.name.upper()}" if item.required else f" [{item.name.upper()}]" for item in names)


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def refresh_page(page: str) -> str:
    """The page with the commands as they are now."""
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}\n\n{render_commands()}\n\n{_END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(refresh_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
