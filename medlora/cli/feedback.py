"""`feedback`: what people said of answers; votes, export as data, deletion for good."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.output import (
    JsonFlag,
    YesFlag,
    check_target,
    confirm,
    print_json,
    print_problems,
    print_table,
)
from medlora.cli.personal import RedactFlag, RightsFlag, decide, tell_undecided
from medlora.errors import UserError
from medlora.services import feedback, feedback_data
from medlora.services.feedback import RatedAnswer, Selection, Standing, Vote
from medlora.services.feedback_data import Kind, LearningOptions
from medlora.workspace import Workspace

commands = typer.Typer(help="Ratings, corrections and votes.", no_args_is_help=True)
AdapterOption = Annotated[str | None, typer.Option("--adapter", help="Only this adapter's answers.")]
RaterOption = Annotated[str | None, typer.Option("--rater", help="Only what this person said.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="Only from this day on, as 2026-01-31.")]
ApprovedFlag = Annotated[
    bool, typer.Option("--approved", help="Also answers marked safe and correct, as they are.")
]


@commands.command("list")
def list_ratings(
    adapter: AdapterOption = None,
    rater: RaterOption = None,
    since: SinceOption = None,
    json: JsonFlag = False,
) -> None:
    """List the ratings, latest first; --json includes the texts."""
    rated = feedback.list_ratings(Workspace.open(), Selection(adapter, rater, since))
    if json:
        print_json([rating_document(item) for item in rated])
        return
    print_table(
        ("ID", "WHEN", "WHO", "ANSWER OF", "SAFETY", "CORRECT", "TONE", "CORRECTED"),
        [
            (
                item.rating.rating_id, item.rating.changed[:16], item.rating.rater, item.answer.label,
                item.rating.safety, item.rating.correctness, item.rating.tone,
                "yes" if item.rating.correction else "",
            )
            for item in rated
        ],
    )  # fmt: skip


@commands.command("summary")
def summary(
    adapter: Annotated[str, typer.Argument(help="The adapter's name.")], json: JsonFlag = False
) -> None:
    """Sum up what people said about an adapter as it is now."""
    found = feedback.summarise_feedback(Workspace.open(), adapter)
    if json:
        document = {**asdict(found), "standings": [standing_document(item) for item in found.standings]}
        print_json(document)
        return
    people = f", by {', '.join(found.raters)}" if found.raters else ""
    print(f"{adapter}: ratings {found.ratings}, corrections {found.corrections}{people}")
    for counts in (found.safety, found.correctness, found.tone):
        print("  " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    for standing in found.standings:
        print(f"  {describe_standing(standing)}")
    if found.other_weights:
        print(f"  not counted: {found.other_weights} of earlier weights under this name")


@commands.command("votes")
def votes(
    adapter: AdapterOption = None,
    rater: RaterOption = None,
    since: SinceOption = None,
    json: JsonFlag = False,
) -> None:
    """Show who won the blind comparisons: wins, ties, and the win rate with its 95 % interval (Wilson)."""
    ws, selection = Workspace.open(), Selection(adapter, rater, since)
    standings = feedback.standings(ws, selection)
    if json:
        cast = [vote_document(item) for item in feedback.list_votes(ws, selection)]
        print_json({"standings": [standing_document(item) for item in standings], "votes": cast})
        return
    for standing in standings:
        print(describe_standing(standing))
    if not standings:
        print("no votes yet")


@commands.command("export")
def export(
    kind: Annotated[str, typer.Argument(help="corrections (to train on) or preferences (chosen, rejected).")],
    to: Annotated[Path | None, typer.Option("--to", help="The JSONL file to write.")] = None,
    adapter: AdapterOption = None,
    rater: RaterOption = None,
    since: SinceOption = None,
    approved: ApprovedFlag = False,
    json: JsonFlag = False,
) -> None:
    """Export corrections or preferences as JSONL; each row names the rating or vote it came from."""
    chosen = _kind(kind)
    target = check_target("--to", to or Path(f"{kind}.jsonl"))
    selection = Selection(adapter, rater, since)
    found = feedback_data.export_feedback(Workspace.open(), chosen, target, selection, approved=approved)
    if json:
        print_json({"file": target, "rows": len(found.rows), "left_out": dict(found.left_out)})
        return
    print(f"{target}: {len(found.rows)} rows")
    print_problems(found.notices)


def _kind(name: str) -> Kind:
    if name == "corrections":
        return "corrections"
    if name == "preferences":
        return "preferences"
    raise UserError(f"export: must be corrections or preferences (got {name!r})")


@commands.command("add")
def add(
    onto: Annotated[str | None, typer.Option("--onto", help="A dataset whose rows come first.")] = None,
    name: Annotated[str | None, typer.Option(help="The new dataset's name; a taken one gets -2.")] = None,
    adapter: AdapterOption = None,
    rater: RaterOption = None,
    since: SinceOption = None,
    approved: ApprovedFlag = False,
    redact: RedactFlag = False,
    have_rights: RightsFlag = False,
    json: JsonFlag = False,
) -> None:
    """Make a dataset from corrections, checked and scanned like any file."""
    phi = decide(redact, have_rights)
    options = LearningOptions(
        selection=Selection(adapter, rater, since),
        approved=approved,
        onto=onto,
        name=name,
        phi=phi,
    )
    card, found = feedback_data.add_to_dataset(Workspace.open(), options)
    if json:
        print_json({"dataset": card, "corrections": len(found.rows), "left_out": dict(found.left_out)})
        return
    print(f"{card.name}: {card.usable} of {card.rows} rows, {len(found.rows)} of them corrections")
    print_problems(found.notices)
    tell_undecided(card)


@commands.command("delete")
def delete(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of ratings and votes.")] = None,
    all_records: Annotated[bool, typer.Option("--all", help="Everything, narrowed by the options.")] = False,
    adapter: AdapterOption = None,
    rater: RaterOption = None,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete ratings and votes for good, with the answers they are about."""
    if bool(ids) == all_records:
        raise UserError("feedback delete: name the ids, or say --all")
    if not yes:
        confirm("Delete for good?")
    ws = Workspace.open()
    gone = feedback.delete_records(ws, ids) if ids else feedback.delete_all(ws, Selection(adapter, rater))
    if json:
        print_json({"deleted": gone})
    else:
        print(f"{gone} deleted")


def rating_document(item: RatedAnswer) -> dict[str, Any]:
    """A rating with its answer, as `--json` prints it."""
    return {**asdict(item.rating), "answer": {**asdict(item.answer), "label": item.answer.label}}


def vote_document(ballot: Vote) -> dict[str, Any]:
    """A vote, as `--json` prints it."""
    return {
        "vote_id": ballot.vote_id,
        "created": ballot.created,
        "rater": ballot.rater,
        "verdict": ballot.verdict,
        "blinded": ballot.blinded,
        "question": ballot.left.question,
        "left": ballot.left.label,
        "right": ballot.right.label,
        "winner": ballot.winner.label if ballot.winner else None,
    }


def standing_document(standing: Standing) -> dict[str, Any]:
    """A standing, as `--json` prints it."""
    interval = standing.interval
    return {
        **asdict(standing),
        "votes": standing.votes,
        "win_rate": standing.win_rate,
        "interval_95": [round(interval.low, 4), round(interval.high, 4)] if standing.decided else None,
        "interval_method": "wilson",
        "enough": standing.enough,
        "result": standing.verdict,
    }


def describe_standing(standing: Standing) -> str:
    """A standing in one line."""
    share = ""
    if standing.win_rate is not None:
        low, high = 100 * standing.interval.low, 100 * standing.interval.high
        share = f", wins {100 * standing.win_rate:.0f} % (95 %: {low:.0f} to {high:.0f})"
    counts = f"{standing.wins} : {standing.losses}, ties {standing.ties}, both bad {standing.both_bad}"
    return f"{standing.speaker} against {standing.rival}: {counts}{share}; {standing.verdict}"
