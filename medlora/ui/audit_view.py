"""How the audit looks: its entries, whether it is whole, and how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from medlora.ui import present
from medlora.ui.present import count, text
from medlora.ui.safety_view import show_level

if TYPE_CHECKING:
    from medlora.safety import VerifyReport
    from medlora.services.audit import AuditPage, Retention

NO_ENTRY = present.empty(
    "No entry yet", "Every chat turn leaves one here: its level and action, never its words."
)
NOTHING_FITS = present.empty("No entry fits", "Choose another level, action, adapter or day.")
_EVENTS = {
    "question": "question",
    "answer": "answer",
    "purge_marker": "older entries purged",
    "anchor_lost": "the anchor was lost",
    "set_aside": "a damaged log was set aside",
    "sign_off": "adapter signed off",
    "sign_off_withdrawn": "sign-off withdrawn",
}


def show_report(report: VerifyReport) -> str:
    """Whether the audit is whole; if it is, the seal to note."""
    if report.ok:
        note = (
            f"{count(report.entries, 'entry', 'entries')} verified. To prove later that nothing of this is "
            f"gone, note the seal {report.seal} somewhere else."
        )
        return present.notice("info", "The audit is whole", note)
    lines = "".join(f"<li>{text(problem)}</li>" for problem in report.problems)
    advice = "Keep the log and look into it. Setting it aside keeps it as it is and begins a new one."
    return (
        '<div class="ml-notice ml-red" role="alert"><span class="ml-sign" aria-hidden="true">!</span>'
        f'<div><strong>The audit was changed</strong><ul class="ml-list">{lines}</ul>'
        f"<p>{text(advice)}</p></div></div>"
    )


def show_page(page: AuditPage) -> str:
    """The newest entries that fit, as a table."""
    if not page.total:
        return NO_ENTRY
    if not page.entries:
        return NOTHING_FITS
    head = "".join(
        f'<th scope="col">{text(name)}</th>'
        for name in ("Time", "Event", "Level", "Action", "Signs", "Adapter", "Chat", "User")
    )
    body = "".join(_show_entry(entry) for entry in page.entries)
    shown = f"The newest {len(page.entries)} of {count(page.fitting, 'entry', 'entries')} that fit"
    caption = f"{shown}, of {page.total:,} in all. Times are this machine's."
    return (
        f'<div class="ml-scroll"><table class="ml-table ml-audit"><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _show_entry(entry: Mapping[str, Any]) -> str:
    moment = datetime.fromtimestamp(float(entry.get("time", 0))).strftime("%Y-%m-%d %H:%M:%S")
    event = _EVENTS.get(str(entry.get("event")), str(entry.get("event", "")))
    level = show_level(str(entry["level"])) if entry.get("level") else "–"
    signs = dict.fromkeys(str(item.get("concept", "")) for item in entry.get("findings", ()) if item)
    cells = (
        entry.get("action") or entry.get("verdict") or "–",
        ", ".join(sign.replace("_", " ").replace("keyword:", "keyword ") for sign in signs) or "–",
        entry.get("adapter") or entry.get("base_model") or "–",
        str(entry.get("chat") or "–")[:8],
        entry.get("user") or entry.get("by") or "–",
    )
    rest = "".join(f"<td>{text(cell)}</td>" for cell in cells)
    return f"<tr><td>{text(moment)}</td><td>{text(event)}</td><td>{level}</td>{rest}</tr>"


def show_retention(retention: Retention, total: int) -> str:
    """How long entries are kept, in words."""
    kept = "for ever" if retention.days is None else f"for {count(retention.days, 'day')}, then purged"
    return f'<p class="ml-small">{text(count(total, "entry", "entries"))}, kept {text(kept)}.</p>'
