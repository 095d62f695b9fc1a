"""`conversations`: the history of conversations, for those who wished to keep one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, YesFlag, confirm, print_json, print_table
from medlora.errors import UserError
from medlora.services import conversations
from medlora.services.conversations import FORMATS, Kept
from medlora.workspace import Workspace

commands = typer.Typer(
    help="Conversations that were kept: off until `conversations keep on`, or the switch on the Chat tab.",
    no_args_is_help=True,
)
UserFlag = Annotated[
    str | None,
    typer.Option("--user", help='Only those of this login; "" is the person at this computer. Default: all.'),
]


@commands.command("keep")
def keep(
    wish: Annotated[str, typer.Argument(help="on or off", metavar="on|off")],
    user: Annotated[str, typer.Option("--user", help="For this login instead of whoever sits here.")] = "",
    json: JsonFlag = False,
) -> None:
    """Keep conversations from now on, or stop keeping them; what was kept stays until you delete it."""
    if wish not in ("on", "off"):
        raise UserError(f"conversations keep: on or off (got {wish!r})")
    conversations.switch(Workspace.open(), user, wish == "on")
    if json:
        print_json({"user": user, "keeps": wish == "on"})
    else:
        print(f"conversations are {'kept from now on' if wish == 'on' else 'no longer kept'}")


@commands.command("list")
def list_conversations(
    search: Annotated[str, typer.Option(help="Only those in which all these words stand.")] = "",
    user: UserFlag = None,
    json: JsonFlag = False,
) -> None:
    """List the kept conversations, latest first."""
    found = conversations.list_kept(Workspace.open(), user, search)
    if json:
        print_json([_summary(kept) for kept in found])
        return
    rows = [
        (kept.conversation_id, kept.changed[:16], kept.owner or "-", kept.size, kept.name) for kept in found
    ]
    print_table(("id", "changed", "user", "turns", "name"), rows)


@commands.command("show")
def show(
    conversation_id: Annotated[str, typer.Argument(metavar="ID")],
    user: UserFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show a conversation with all its turns."""
    kept = conversations.show(Workspace.open(), user, conversation_id)
    if json:
        print_json({**_summary(kept), "turns": [dict(vars(turn)) for turn in kept.turns]})
    else:
        print(conversations.export_markdown([kept]), end="")


@commands.command("rename")
def rename(
    conversation_id: Annotated[str, typer.Argument(metavar="ID")],
    name: Annotated[str, typer.Argument(help="Its new name.")],
    user: UserFlag = None,
    json: JsonFlag = False,
) -> None:
    """Rename a conversation."""
    kept = conversations.rename(Workspace.open(), user, conversation_id, name)
    print_json({"id": conversation_id, "name": kept}) if json else print(kept)


@commands.command("export")
def export(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Without one: all.")] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write here instead of printing.")] = None,
    user: UserFlag = None,
    json: JsonFlag = False,
) -> None:
    """Export conversations as Markdown to read, or as JSONL in the shape of a dataset."""
    if format not in FORMATS:
        raise UserError(f"--format: one of {', '.join(FORMATS)} (got {format!r})")
    if json and out is None:
        raise UserError("--json: it needs --out, since the export itself is printed otherwise")
    ws = Workspace.open()
    wanted = ids or [kept.conversation_id for kept in conversations.list_kept(ws, user)]
    found = [conversations.show(ws, user, each) for each in wanted]
    text = (conversations.export_markdown if format == "md" else conversations.export_jsonl)(found)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written ({error.strerror}); choose another place") from None
    print_json({"file": str(out), "conversations": len(found)}) if json else print(out)


@commands.command("delete")
def delete(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one, of that user or of all.")] = False,
    user: UserFlag = None,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete conversations for good: overwritten on disk, not only taken off the list."""
    if bool(ids) == everything:
        raise UserError("conversations delete: name some, or give --all")
    if not yes:
        confirm("Delete for good?")
    ws = Workspace.open()
    gone = conversations.delete_all(ws, user) if everything else conversations.delete(ws, user, ids or [])
    print_json({"deleted": gone}) if json else print(f"deleted: {gone}")


def _summary(kept: Kept) -> dict[str, object]:
    return {
        "id": kept.conversation_id,
        "user": kept.owner,
        "name": kept.name,
        "created": kept.created,
        "changed": kept.changed,
        "speakers": list(kept.speakers),
        "size": kept.size,
    }
