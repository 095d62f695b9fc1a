"""`adapters`: list, show, search, import, export, merge, push, rename, note, delete; sign-off and report."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli import adapter_release
from medlora.cli.output import JsonFlag, YesFlag, check_target, confirm, print_json, print_table
from medlora.errors import RunFailedError
from medlora.services import adapter_export, adapter_library, adapters
from medlora.services.adapter_import import import_adapter
from medlora.services.adapters import AdapterCard
from medlora.services.release import Release, read_release, read_releases
from medlora.workspace import Workspace

commands = typer.Typer(help="Published adapters.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The adapter's name.")]


@commands.command("list")
def list_adapters(
    search: Annotated[str, typer.Option("--search", help="Only those with all of these words.")] = "",
    json: JsonFlag = False,
) -> None:
    """List the adapters, newest first."""
    ws = Workspace.open()
    cards = adapter_library.search(adapters.list_adapters(ws), search)
    releases = read_releases(ws, cards)
    if json:
        print_json([_as_document(card, releases[card.name]) for card in cards])
        return
    print_table(
        ("NAME", "BASE", "DATASET", "STEPS", "LOSS", "EVAL", "STATUS", "RELEASE"),
        [
            (
                *(c.name, c.base_model, c.dataset, c.steps, c.train_loss, c.eval_loss),
                c.problem or c.status,
                releases[c.name].words,
            )
            for c in cards
        ],
    )


def _as_document(card: AdapterCard, release: Release) -> dict[str, Any]:
    return {
        **dataclasses.asdict(card),
        "base_licence": adapters.base_licence(card.base_model),
        "release": release.as_dict(),
    }


@commands.command("show")
def show(name: NameArgument, json: JsonFlag = True) -> None:
    """Show an adapter with its provenance and release state, as JSON."""
    ws = Workspace.open()
    print_json(_as_document(adapters.show(ws, name), read_release(ws, name)))


commands.command("release")(adapter_release.show_release)
commands.command("sign")(adapter_release.sign)
commands.command("unsign")(adapter_release.unsign)
commands.command("report")(adapter_release.report)


@commands.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A zip, a tar or a folder.")],
    name: Annotated[str | None, typer.Option("--name", help="Its name here; a taken one gets -2.")] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Its base model, where its files do not say.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check an adapter from elsewhere and add it: only safetensors, and only if it fits its base model."""
    done = import_adapter(Workspace.open(), source, name=name, base=base)
    if json:
        print_json(done)
        return
    for notice in done.notices:
        print(f"notice: {notice}", file=sys.stderr)
    print(f"{done.name}: imported, on {done.base_model}")


@commands.command("export")
def export(
    name: NameArgument,
    to: Annotated[Path | None, typer.Option("--to", help="The zip file, or the folder, to write.")] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="The whole model in bfloat16, with a Modelfile for Ollama.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write an adapter as a zip; with --merged, base and adapter as one model in a folder."""
    ws = Workspace.open()
    target = check_target("--to", to or Path(f"{name}-merged" if merged else f"{name}.zip"))
    if merged:
        item = _follow_merge(ws, adapter_export.start_merge(ws, name), quiet=json)
        adapter_export.take_merged(ws, item.id, target)
        result = {key: value for key, value in item.result.items() if key != "folder"}
        document = {"adapter": name, "folder": str(target), **result}
    else:
        shutil.move(adapters.export_zip(ws, name), target)
        document = {"adapter": name, "file": str(target)}
    if json:
        print_json(document)
    else:
        print(target)


def _follow_merge(ws: Workspace, merge_id: str, *, quiet: bool) -> adapter_export.MergeView:
    """Wait for the merge; Ctrl-C stops it. Raises: RunFailedError for one without a result."""
    said = ""
    while True:
        try:
            item = adapter_export.view_merge(ws, merge_id)
            if item.detail != said and not quiet:
                said = item.detail
                print(said, file=sys.stderr)
            if not item.going:
                break
            time.sleep(0.5)
        except KeyboardInterrupt:
            adapter_export.stop_merge(ws, merge_id)
    if item.status != "completed":
        raise RunFailedError(f"merge of {item.adapter}: {item.reason or 'it ended without a word'}")
    return item


@commands.command("push")
def push(
    name: NameArgument,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="For everyone to see; else private.")] = False,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Put an adapter on the Hub. It leaves this machine, with whatever it learned by heart."""
    if not yes:
        seen = "everyone can see it" if public else "those you allow can see it"
        confirm(f"Send adapter {name} to {repository}, where {seen}?")
    address = adapter_export.push(Workspace.open(), name, repository, private=not public)
    if json:
        print_json({"adapter": name, "address": address})
    else:
        print(address)


@commands.command("rename")
def rename(
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    json: JsonFlag = False,
) -> None:
    """Rename an adapter; its ratings and figures go with it."""
    card = adapter_library.rename(Workspace.open(), name, new_name)
    if json:
        print_json(card)
    else:
        print(f"{name}: now {card.name}")


@commands.command("note")
def note(
    name: NameArgument,
    text: Annotated[str, typer.Argument(help="The notes; an empty text removes them.")],
    json: JsonFlag = False,
) -> None:
    """Write a note about an adapter; notes are never exported."""
    card = adapter_library.set_notes(Workspace.open(), name, text)
    if json:
        print_json(card)
    else:
        print(f"{name}: noted")


@commands.command("delete")
def delete(
    name: NameArgument,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete an adapter for good; refused while it is in use."""
    if not yes:
        confirm(f"Delete adapter {name} for good?")
    adapter_library.delete(Workspace.open(), name)
    if json:
        print_json({"adapter": name, "deleted": True})
    else:
        print(f"{name}: deleted")
