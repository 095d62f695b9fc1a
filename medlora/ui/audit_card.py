"""The audit on the Safety tab: read it, filter it, verify it, keep it for so many days."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medlora.safety import Action, Level
from medlora.services import audit
from medlora.services.audit import AuditFilter
from medlora.ui import present
from medlora.ui.audit_view import NO_ENTRY, show_page, show_report, show_retention
from medlora.ui.blocks import Confirmation, actions, card, confirmation, words
from medlora.ui.downloads import Download, download, new_download
from medlora.ui.events import POLL, SILENT, guarded
from medlora.ui.present import count
from medlora.workspace import Workspace

SHOWN_ENTRIES = 100
ANY = ""
_KEPT = (("For ever", 0), ("30 days", 30), ("90 days", 90), ("One year", 365), ("Six years", 2190))
Update = Any


@dataclass(frozen=True)
class AuditCard:
    """The widgets of the card."""

    level: gr.Dropdown
    action: gr.Dropdown
    adapter: gr.Dropdown
    since: gr.Textbox
    until: gr.Textbox
    verify: gr.Button
    export: Download
    verified: gr.HTML
    damaged: gr.Column
    aside: gr.Button
    entries: gr.HTML
    kept: gr.HTML
    retention: gr.Dropdown
    days: gr.Number
    purge: gr.Button
    sure: Confirmation

    @property
    def filters(self) -> list[Any]:
        return [self.level, self.action, self.adapter, self.since, self.until]

    @property
    def opened(self) -> list[Any]:
        """What `open_card` fills."""
        return [self.adapter, self.entries, self.kept, self.retention]


# Handlers


def read_filter(level: str, action: str, adapter: str, since: str, until: str) -> AuditFilter:
    """What the fields ask for."""
    return AuditFilter.read(level=level, action=action, adapter=adapter, since=since, until=until)


def show_entries(workspace: Workspace, *filters: str) -> str:
    """The newest entries that fit."""
    wanted = read_filter(*filters) if filters else None
    return show_page(audit.read_audit(workspace, wanted, limit=SHOWN_ENTRIES))


def open_card(workspace: Workspace, *filters: str) -> list[Update]:
    """The card when its tab is opened: who is known, the entries, how long they are kept."""
    known = [("Any adapter", ANY), *((name, name) for name in audit.list_speakers(workspace))]
    adapter = filters[2] if filters[2] in [name for _, name in known] else ANY
    filters = (*filters[:2], adapter, *filters[3:])
    return [
        gr.update(choices=known, value=adapter),
        show_entries(workspace, *filters),
        *draw_retention(workspace),
    ]


def draw_retention(workspace: Workspace) -> list[Update]:
    """How long entries are kept: in words, and as the choice."""
    retention = audit.load_retention(workspace)
    days = retention.days or 0
    choices = list(_KEPT)
    if days not in [value for _, value in choices]:
        choices.append((count(days, "day"), days))
    total = audit.read_audit(workspace, limit=1).total
    return [show_retention(retention, total), gr.update(choices=choices, value=days)]


def verify(workspace: Workspace) -> list[Update]:
    """Whether the audit is whole; if not, a way on is offered."""
    report = audit.verify_audit(workspace)
    return [show_report(report), gr.update(visible=not report.ok)]


def keep(workspace: Workspace, days: int) -> list[Update]:
    """Keep entries for so many days from now on; 0 keeps them."""
    audit.save_retention(workspace, int(days) or None)
    return draw_retention(workspace)


def ask_to_purge(workspace: Workspace, days: float | None) -> list[Update]:
    """How many entries a purge would remove, and whether that is wanted."""
    age = 0.0 if days is None else float(days)
    older = audit.count_older(workspace, age)
    if not older:
        return [gr.update(visible=False), "", f'<p class="ml-small">No entry is older than {age:g} days.</p>']
    question = (
        f"<p><strong>Remove {count(older, 'entry', 'entries')} older than {age:g} days?</strong> They cannot "
        "be brought back. A sealed line stands for them, so the rest still verifies.</p>"
    )
    return [gr.update(visible=True), question, gr.skip()]


def purge(workspace: Workspace, days: float | None, *filters: str) -> list[Update]:
    """Remove old entries."""
    removed = audit.purge_audit(workspace, 0.0 if days is None else float(days))
    told = present.notice("info", f"{count(removed, 'entry', 'entries')} removed", "The rest still verifies.")
    return [gr.update(visible=False), told, show_entries(workspace, *filters), draw_retention(workspace)[0]]


def set_aside(workspace: Workspace, *filters: str) -> list[Update]:
    """Keep a damaged log under another name, and begin anew."""
    name = audit.set_audit_aside(workspace)
    told = present.notice(
        "info", "The damaged log was set aside", f"It is kept as {name}; a new log has begun and names it."
    )
    return [told, gr.update(visible=False), show_entries(workspace, *filters)]


def export(workspace: Workspace, *filters: str) -> Path:
    """The entries that fit, as a file."""
    path = new_download("audit.jsonl")
    audit.export_audit(workspace, path, read_filter(*filters))
    return path


# Layout and wiring


def _choices(title: str, names: list[str]) -> list[tuple[str, str]]:
    return [(title, ANY), *((name, name) for name in names)]


def build_audit_card() -> AuditCard:
    """Render the card's widgets."""
    with card():
        words(
            present.heading(
                "Audit",
                "Two entries a turn, without the words. Each seals the one before: a change, a gap or a cut "
                "end is found.",
            )
        )
        with gr.Row(elem_classes="ml-filters"):
            level = gr.Dropdown(
                _choices("Any level", [level.label for level in Level]), value=ANY, label="Level",
                filterable=False, min_width=130, elem_id="audit-level",
            )  # fmt: skip
            action = gr.Dropdown(
                _choices("Any action", [action.value for action in Action]), value=ANY, label="Action",
                filterable=False, min_width=130, elem_id="audit-action",
            )  # fmt: skip
            adapter = gr.Dropdown(
                _choices("Any adapter", []), value=ANY, label="Adapter", filterable=False, min_width=160,
                elem_id="audit-adapter",
            )  # fmt: skip
            since = gr.Textbox(
                label="From day",
                placeholder="2026-11-25",
                max_length=10,
                min_width=120,
                elem_id="audit-since",
                elem_classes="ml-enter",
            )
            until = gr.Textbox(
                label="To day",
                placeholder="2026-11-25",
                max_length=10,
                min_width=120,
                elem_id="audit-until",
                elem_classes="ml-enter",
            )
        entries = words(NO_ENTRY, elem_id="safety-entries")
        with actions():
            check = gr.Button("Verify the audit", elem_id="safety-verify")
            hand_out = download("Download these", "audit-export", elem_classes="ml-quiet")
        verified = words(elem_id="safety-verified")
        with gr.Column(visible=False, elem_id="audit-damaged") as damaged, actions():
            aside = gr.Button("Set the damaged log aside", elem_id="audit-aside", elem_classes="ml-danger")
        with gr.Accordion("How long it is kept", open=False, elem_classes="ml-group", elem_id="audit-keep"):
            kept = words(elem_id="audit-kept")
            retention = gr.Dropdown(
                list(_KEPT), value=0, label="Keep entries", filterable=False, elem_id="audit-retention",
                info="Older ones are removed at once, and then once a day while the app runs.",
            )  # fmt: skip
            with gr.Row(elem_classes="ml-actions"):
                days = gr.Number(
                    90, label="Remove entries older than (days)", minimum=0, precision=0, elem_id="audit-days"
                )
                remove = gr.Button("Remove them…", elem_id="audit-purge", elem_classes="ml-danger")
            sure = confirmation("Remove them", "Keep them", "audit-sure")
    return AuditCard(
        level=level, action=action, adapter=adapter, since=since, until=until, verify=check, export=hand_out,
        verified=verified, damaged=damaged, aside=aside, entries=entries, kept=kept, retention=retention,
        days=days, purge=remove, sure=sure,
    )  # fmt: skip


def wire_audit_card(tab: AuditCard, workspace: Workspace) -> None:
    """What each press does."""
    look = guarded(lambda *filters: show_entries(workspace, *filters))
    chosen = [widget.input for widget in (tab.level, tab.action, tab.adapter)]
    written = [field.blur for field in (tab.since, tab.until)]
    gr.on([*chosen, *written], look, tab.filters, tab.entries, trigger_mode="always_last", **POLL)
    tab.verify.click(guarded(lambda: verify(workspace)), None, [tab.verified, tab.damaged], **SILENT).then(
        look, tab.filters, tab.entries, **POLL
    )
    tab.aside.click(
        guarded(lambda *filters: set_aside(workspace, *filters)),
        tab.filters,
        [tab.verified, tab.damaged, tab.entries],
        **SILENT,
    )
    tab.retention.input(
        guarded(lambda days: keep(workspace, days)), tab.retention, [tab.kept, tab.retention], **SILENT
    ).then(look, tab.filters, tab.entries, **POLL)
    asked = [tab.sure.box, tab.sure.question, tab.kept]
    tab.purge.click(guarded(lambda days: ask_to_purge(workspace, days)), tab.days, asked, **POLL)
    tab.sure.no.click(lambda: gr.update(visible=False), None, tab.sure.box, **POLL)
    tab.sure.yes.click(
        guarded(lambda days, *filters: purge(workspace, days, *filters)),
        [tab.days, *tab.filters],
        [tab.sure.box, tab.verified, tab.entries, tab.kept],
        **SILENT,
    )
    tab.export.wire(lambda *filters: export(workspace, *filters), tab.filters)
