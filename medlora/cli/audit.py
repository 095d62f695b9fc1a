"""`safety audit`, `verify`, `purge`, `retention`, `set-aside`: the record of what was decided."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, check_target, print_json, print_problems, print_table
from medlora.cli.safety import commands
from medlora.errors import UserError
from medlora.services import audit
from medlora.services.audit import AuditFilter
from medlora.workspace import Workspace

__all__ = ["commands"]


@commands.command("audit")
def show_audit(
    level: Annotated[str | None, typer.Option(help="answer, caution, defer, emergency or crisis.")] = None,
    action: Annotated[str | None, typer.Option(help="answer, annotate, defer or block.")] = None,
    adapter: Annotated[str | None, typer.Option(help="An adapter, or a base model.")] = None,
    concept: Annotated[str | None, typer.Option(help="A sign, such as chest_pain.")] = None,
    since: Annotated[str | None, typer.Option(help="The first day, such as 2026-11-25.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    export: Annotated[Path | None, typer.Option(help="Write what fits into this file instead.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the audit log, newest first. It holds no one's words unless audit_raw_text is on."""
    ws = Workspace.open()
    wanted = AuditFilter.read(
        level=level, action=action, adapter=adapter, concept=concept, since=since, until=until
    )
    if export is not None:
        check_target("--export", export, fresh=False)
        written = audit.export_audit(ws, export, wanted)
        if json:
            print_json({"entries": written, "file": export})
            return
        print(f"{written} entries written to {export}")
        return
    page = audit.read_audit(ws, wanted, limit=limit)
    if json:
        print_json(page)
        return
    rows = [
        (
            datetime.fromtimestamp(float(entry.get("time", 0))).strftime("%Y-%m-%d %H:%M:%S"),
            entry.get("event"),
            entry.get("level"),
            entry.get("action"),
            entry.get("adapter") or entry.get("base_model"),
            " ".join(dict.fromkeys(found["concept"] for found in entry.get("findings", ()))),
        )
        for entry in page.entries
    ]
    print_table(("time", "event", "level", "action", "adapter", "signs"), rows)
    print(f"{len(rows)} of {page.fitting} that fit, of {page.total} entries")


@commands.command("verify")
def verify(
    seal: Annotated[str, typer.Option(help="A seal noted earlier: is that end still in the log?")] = "",
    json: JsonFlag = False,
) -> None:
    """Check that the audit log is whole, exit 2 if it was changed, and print a seal to note elsewhere."""
    report = audit.verify_audit(Workspace.open(), seal)
    if json:
        print_json(report)
    elif report.ok:
        print(f"The audit log is whole: {report.entries} entries. Seal: {report.seal}")
    if not report.ok:
        print_problems(report.problems)
        sys.exit(2)


@commands.command("purge")
def purge(
    days: Annotated[float, typer.Option("--older-than", help="Remove entries older than so many days.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only count.")] = False,
    json: JsonFlag = False,
) -> None:
    """Remove old audit entries; a signed marker keeps the rest provable. Only counts them without --yes."""
    ws = Workspace.open()
    count = audit.purge_audit(ws, days) if yes else audit.count_older(ws, days)
    if json:
        print_json({"removed": count if yes else 0, "older": count})
    elif yes:
        print(f"{count} entries removed")
    else:
        print(f"{count} entries are older than {days:g} days; add --yes to remove them")


@commands.command("retention")
def retention(
    days: Annotated[str, typer.Argument(help="How many days entries are kept, or off.")] = "",
    json: JsonFlag = False,
) -> None:
    """Show or set how long audit entries are kept; the app removes older ones once a day."""
    ws = Workspace.open()
    if days and days != "off" and not days.isdecimal():
        raise UserError(f"days: this is no number of days (got {days[:20]!r}); write a whole number, or off")
    chosen = audit.load_retention(ws)
    if days:
        chosen = audit.save_retention(ws, None if days == "off" else int(days))
    if json:
        print_json(chosen)
    else:
        print("kept for ever" if chosen.days is None else f"kept for {chosen.days} days")


@commands.command("set-aside")
def set_aside(json: JsonFlag = False) -> None:
    """Keep a damaged audit log under another name and begin a new one that refers to it."""
    name = audit.set_audit_aside(Workspace.open())
    if json:
        print_json({"file": name})
    else:
        print(f"The damaged log is kept as {name}; a new one has begun.")
