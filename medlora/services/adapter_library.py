"""Keeping the library in order: search, another name, notes. What is known of an adapter stays with it."""

from __future__ import annotations

from collections.abc import Iterable

from medlora.errors import UserError
from medlora.feedback.store import rename_adapter
from medlora.runs.events import append_event
from medlora.runs.live import observe
from medlora.services import adapter_export, adapters, evaluate
from medlora.services.adapters import NOTES, PROVENANCE, AdapterCard
from medlora.workspace import Workspace, check_name, write_json

_LONGEST_NOTES = 4_000


def search(cards: Iterable[AdapterCard], words: str) -> list[AdapterCard]:
    """The adapters that hold every word in name, base model, dataset, status or notes."""
    wanted = words.casefold().split()
    return [card for card in cards if all(word in _spoken(card) for word in wanted)]


def _spoken(card: AdapterCard) -> str:
    parts = (card.name, card.base_model, card.dataset, card.status, card.notes, *card.target_modules)
    return " ".join(parts).casefold()


def refuse_if_in_use(ws: Workspace, card: AdapterCard) -> None:
    """Raises: UserError while a chat, an evaluation or the adapter's own run is at work with it."""
    adapters.refuse_if_leased(ws, card.name)
    if any(item.going for item in evaluate.list_evaluations(ws, card.name)):
        raise UserError(f"adapter {card.name}: an evaluation is measuring it; wait for it or stop it first")
    if any(item.going for item in adapter_export.list_merges(ws, card.name)):
        raise UserError(f"adapter {card.name}: it is being merged; wait for it or stop it first")
    if card.run_id:
        run = ws.run(card.run_id)
        if run.record.exists() and observe(run).status in ("running", "stopping"):
            raise UserError(f"adapter {card.name}: its run is going on with it; stop the run first")


def delete(ws: Workspace, name: str) -> None:
    """Remove an adapter for good.

    Raises: NotFoundError; UserError while it is in use.
    """
    refuse_if_in_use(ws, adapters.show(ws, name))
    adapters.delete(ws, name)


def rename(ws: Workspace, name: str, new_name: str) -> AdapterCard:
    """Give an adapter another name; its ratings, its run and its figures go with it.

    Raises: NotFoundError; UserError for a name that is taken or not usable, or while it is in use.
    """
    card = adapters.show(ws, name)
    target = ws.adapter(check_name(new_name.strip(), "adapter"))
    if target == card.path:
        return card
    taken = target.exists() and not (target.name.lower() == name.lower() and target.samefile(card.path))
    if taken:
        raise UserError(f"adapter {new_name}: there is one of this name already; choose another name")
    refuse_if_in_use(ws, card)
    card.path.rename(target)
    provenance = {**card.provenance, "adapter": target.name}
    write_json(target / PROVENANCE, provenance)
    rename_adapter(ws, name, target.name)
    evaluate.rename_adapter(ws, name, target.name)
    if card.run_id:
        run = ws.run(card.run_id)
        if run.record.exists() and observe(run).adapter == name:
            append_event(run, "published", adapter=target.name, step=observe(run).adapter_step)
    return adapters.show(ws, target.name)


def set_notes(ws: Workspace, name: str, notes: str) -> AdapterCard:
    """Keep notes with an adapter; empty ones are removed. They are never part of an export.

    Raises: NotFoundError; UserError for notes that are too long.
    """
    card = adapters.show(ws, name)
    if len(notes) > _LONGEST_NOTES:
        raise UserError(f"notes: at most {_LONGEST_NOTES} characters (got {len(notes)}); shorten them")
    text = "".join(c for c in notes if c == "\n" or c.isprintable()).strip()
    if text:
        write_json(card.path / NOTES, {"text": text})
    else:
        (card.path / NOTES).unlink(missing_ok=True)
    return adapters.show(ws, name)
