"""`adapters release | sign | unsign | report`: where an adapter stands, who answers for it, its report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, check_target, print_json
from medlora.errors import UserError
from medlora.services import release as releases
from medlora.services.release import Release
from medlora.workspace import Workspace

NameArgument = Annotated[str, typer.Argument(help="The adapter's name.")]


def show_release(name: NameArgument, json: JsonFlag = False) -> None:
    """Show each figure of the release gate, and who signed."""
    _print(name, releases.read_release(Workspace.open(), name), as_json=json)


def sign(
    name: NameArgument,
    by: Annotated[str, typer.Option("--by", help="Who signs: a person's name.")],
    note: Annotated[str, typer.Option("--note", help="What the signature is for, or its limits.")] = "",
    json: JsonFlag = False,
) -> None:
    """Sign for an adapter as it is now; refused while a figure misses the gate; other weights void it."""
    _print(name, releases.sign(Workspace.open(), name, by, note), as_json=json)


def unsign(name: NameArgument, json: JsonFlag = False) -> None:
    """Take a signature back: the adapter is a draft again."""
    _print(name, releases.withdraw(Workspace.open(), name), as_json=json)


def report(
    name: NameArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Copy it to this .html or .md file, or both into a folder.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write the adapter's report, HTML and Markdown, and keep it beside the adapter."""
    from medlora.ui.report import make_report

    if out is not None and out.suffix not in (".html", ".md") and not out.is_dir():
        raise UserError(f"--out: must be a .html or .md file, or a folder (got {out}); make the folder first")
    if out is not None:
        check_target("--out", out, fresh=False)
    html, markdown, facts = make_report(Workspace.open(), name)
    written = [html, markdown]
    if out is not None and out.is_dir():
        written = [Path(shutil.copyfile(path, out / f"{name}-{path.name}")) for path in written]
    elif out is not None:
        written = [Path(shutil.copyfile(html if out.suffix == ".html" else markdown, out))]
    if json:
        print_json({"files": written, **facts.as_dict()})
        return
    for path in written:
        print(path)


def _print(name: str, release: Release, *, as_json: bool) -> None:
    if as_json:
        print_json({"adapter": name, **release.as_dict()})
        return
    print(f"{name}: {release.words}")
    for check in release.checks:
        print(f"  {'met   ' if check.met else 'MISSED'}  {check.name}: {check.words}")
    signature = release.signature
    if signature is not None:
        note = f": {signature.note}" if signature.note else ""
        print(f"  signed {signature.signed[:16].replace('T', ' ')} by {signature.by}{note}")
