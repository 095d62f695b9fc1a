"""Ratings and votes: kept, listed, summed up for an adapter, deleted for good.

Nothing of an answer is kept before somebody says something of it. What is kept may hold what came from
patients: it lies in the private folder, is never logged, and can be deleted for good.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from medlora.dataset.store import clean_title
from medlora.errors import NotFoundError, UserError
from medlora.feedback import store
from medlora.feedback.records import (
    CORRECTNESS,
    SAFETY,
    TONES,
    VERDICTS,
    Answer,
    RatedAnswer,
    Rating,
    Vote,
    now,
    short_model,
)
from medlora.feedback.statistics import Standing, all_standings
from medlora.feedback.store import Selection
from medlora.safety.catalogue.build import load_catalogue
from medlora.services import adapters
from medlora.services.chat_turn import ChatSettings, ChatUpdate
from medlora.workspace import Workspace, make_private, write_json

__all__ = [
    "Answer",
    "FeedbackSummary",
    "RatedAnswer",
    "Rating",
    "Selection",
    "Standing",
    "Vote",
    "delete_all",
    "delete_records",
    "describe_answer",
    "find_rating",
    "list_ratings",
    "list_votes",
    "rate_answer",
    "read_rater",
    "standings",
    "summarise_feedback",
    "vote",
]

_LONGEST_TEXT = 16_000


@dataclass(frozen=True)
class FeedbackSummary:
    """What people said of one adapter's answers.

    weights: the hash these figures speak of; other_weights: ratings and votes of earlier weights under the
    same name, which are not counted in. safety, correctness, tone: how many ratings said what.
    corrections: answers that somebody wrote better. standings: the adapter against each rival.
    """

    adapter: str
    weights: str | None = None
    ratings: int = 0
    raters: tuple[str, ...] = ()
    safety: Mapping[str, int] = field(default_factory=dict)
    correctness: Mapping[str, int] = field(default_factory=dict)
    tone: Mapping[str, int] = field(default_factory=dict)
    corrections: int = 0
    comments: int = 0
    votes: int = 0
    standings: tuple[Standing, ...] = ()
    other_weights: int = 0
    last_changed: str | None = None


# Who
def read_rater(ws: Workspace) -> str:
    """The name that was given last on this machine; empty before the first."""
    try:
        value = json.loads((ws.drafts / "rater.json").read_text(encoding="utf-8"))
        return str(value["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _remember_rater(ws: Workspace, name: str) -> None:
    if read_rater(ws) != name:
        write_json(make_private(ws.drafts) / "rater.json", {"name": name})


def clean_name(name: str) -> str:
    """A name as it is kept: one line, no invisible characters; empty if there is none."""
    return clean_title(name)[:60] if name.strip() else ""


def _check_rater(name: str) -> str:
    cleaned = clean_name(name)
    if not cleaned:
        raise UserError("rating: your name: it is missing; write a name or initials, it is asked once")
    return cleaned


# Say
def describe_answer(turns: Sequence[Mapping[str, str]], update: ChatUpdate, settings: ChatSettings) -> Answer:
    """The answer with all that tells how it came about; nothing is written yet.

    turns: the conversation up to and including the question.
    """
    return Answer(
        turns=tuple({"role": turn["role"], "content": turn["content"]} for turn in turns),
        text=update.text,
        base_model=_name_base(update, settings),
        adapter=settings.adapter,
        weights=update.weights,
        level=update.level,
        action=update.action,
        system_prompt=settings.system_prompt,
        settings={"inference": settings.inference.model_dump(mode="json"), "safety": dict(settings.safety)},
        catalogue=load_catalogue().version,
        whole=not (update.stopped or update.truncated or update.error),
    )


def _name_base(update: ChatUpdate, settings: ChatSettings) -> str:
    name = update.base_model or settings.base_model
    return f"{short_model(name)} at {update.server}" if update.server else name


def rate_answer(ws: Workspace, answer: Answer, rating: Rating) -> Rating:
    """Keep a rating; the same person's earlier one of this answer gives way to it.

    Raises: UserError for a missing name, an empty rating, a value that is none, a text that is too long.
    """
    for what, value, known in (
        ("safety", rating.safety, SAFETY),
        ("correctness", rating.correctness, CORRECTNESS),
        ("tone", rating.tone, TONES),
    ):
        if value is not None and value not in known:
            raise UserError(f"rating: {what}: must be one of {', '.join(known)} (got {value!r})")
    for what, words in (("comment", rating.comment), ("correction", rating.correction)):
        if len(words) > _LONGEST_TEXT:
            raise UserError(
                f"rating: {what}: it is too long (got {len(words)} characters, at most {_LONGEST_TEXT}); "
                "shorten it"
            )
    unchanged = rating.correction.strip() == answer.text.strip()
    said = replace(
        rating,
        answer_id=answer.answer_id,
        rater=_check_rater(rating.rater),
        comment=rating.comment.strip(),
        correction="" if unchanged else rating.correction.strip(),
        changed=now(),
    )
    if said.is_empty:
        raise UserError("rating: nothing was said yet; choose at least one mark, or write a better answer")
    kept = store.save_rating(ws, answer, said)
    _remember_rater(ws, kept.rater)
    return kept


def vote(ws: Workspace, ballot: Vote) -> Vote:
    """Keep a vote on two answers to one question.

    Raises: UserError for a missing name, a verdict that is none, answers to different questions.
    """
    if ballot.verdict not in VERDICTS:
        raise UserError(f"vote: it must be one of {', '.join(VERDICTS)} (got {ballot.verdict!r})")
    if ballot.left.turns != ballot.right.turns:
        raise UserError("vote: the two answers are to different questions; ask both the same")
    kept = replace(ballot, rater=_check_rater(ballot.rater))
    store.save_vote(ws, kept)
    _remember_rater(ws, kept.rater)
    return kept


# Look
def list_ratings(ws: Workspace, selection: Selection | None = None) -> list[RatedAnswer]:
    """Ratings with their answers, the latest first."""
    return store.list_ratings(ws, selection)


def list_votes(ws: Workspace, selection: Selection | None = None) -> list[Vote]:
    """Votes with both answers, the latest first."""
    return store.list_votes(ws, selection)


def find_rating(ws: Workspace, answer_id: str, rater: str) -> Rating | None:
    """What this person said of this answer."""
    return store.find_rating(ws, answer_id, rater)


def standings(ws: Workspace, selection: Selection | None = None) -> list[Standing]:
    """Every pair that was voted on, with win rate, ties and the 95 % Wilson interval."""
    return all_standings(store.list_votes(ws, selection))


def summarise_feedback(ws: Workspace, adapter: str) -> FeedbackSummary:
    """What people said of an adapter as it is now: its present weights alone, if those are on record.

    An adapter that was never rated, or is gone, has an empty summary.
    """
    weights = _present_weights(ws, adapter)
    rated = store.list_ratings(ws, Selection(adapter=adapter))
    votes = store.list_votes(ws, Selection(adapter=adapter))
    ours = [item for item in rated if _is_of(item.answer, adapter, weights)]
    counted = [ballot for ballot in votes if _speaks_of(ballot, adapter, weights)]
    ratings = [item.rating for item in ours]
    pairs = [pair for pair in all_standings(counted) if adapter in (pair.speaker, pair.rival)]
    return FeedbackSummary(
        adapter=adapter,
        weights=weights,
        ratings=len(ratings),
        raters=tuple(sorted({r.rater for r in ratings} | {ballot.rater for ballot in counted})),
        safety=_count((r.safety for r in ratings), SAFETY),
        correctness=_count((r.correctness for r in ratings), CORRECTNESS),
        tone=_count((r.tone for r in ratings), TONES),
        corrections=sum(bool(r.correction) for r in ratings),
        comments=sum(bool(r.comment) for r in ratings),
        votes=len(counted),
        standings=tuple(pairs),
        other_weights=len(rated) - len(ours) + len(votes) - len(counted),
        last_changed=max([r.changed for r in ratings] + [b.created for b in counted], default=None),
    )


def _present_weights(ws: Workspace, adapter: str) -> str | None:
    try:
        digest = adapters.show(ws, adapter).provenance.get("weights_sha256")
    except NotFoundError:
        return None
    return digest if isinstance(digest, str) else None


def _is_of(answer: Answer, adapter: str, weights: str | None) -> bool:
    """Whether these weights gave it. An answer without weights (the model was not asked) is the name's."""
    if answer.adapter != adapter:
        return False
    return weights is None or answer.weights is None or weights.startswith(answer.weights)


def _speaks_of(ballot: Vote, adapter: str, weights: str | None) -> bool:
    return any(_is_of(answer, adapter, weights) for answer in (ballot.left, ballot.right))


def _count(said: Iterable[str | None], known: Sequence[str]) -> dict[str, int]:
    counts = Counter(said)
    return {name: counts[name] for name in known}


# Forget
def delete_records(ws: Workspace, ids: Sequence[str]) -> int:
    """Delete ratings and votes for good, and the answers that nothing else speaks of; how many.

    Raises: NotFoundError when none of them is there.
    """
    gone = store.delete_records(ws, ids)
    if not gone:
        raise NotFoundError(f"feedback: there is no rating or vote of this id (got {', '.join(ids)[:200]!r})")
    return gone


def delete_all(ws: Workspace, selection: Selection | None = None) -> int:
    """Delete every rating and vote of a selection for good; how many."""
    ids = [item.rating.rating_id for item in store.list_ratings(ws, selection)]
    ids += [ballot.vote_id for ballot in store.list_votes(ws, selection)]
    return store.delete_records(ws, ids) if ids else 0
