"""The look: warm paper, deep ink, one teal accent; amber and red for safety and errors alone.

Why: one table of colours, light beside dark, from which Gradio's variables and our own are both made.
Every text colour stands at WCAG AA (4.5 : 1) on the surfaces it is used on; a test measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
STYLE_SHEET = _HERE / "assets" / "style.css"
FAVICON = _HERE / "assets" / "favicon.svg"


@dataclass(frozen=True)
class Tone:
    """One colour by its use, in both modes."""

    light: str
    dark: str


PALETTE: dict[str, Tone] = {
    "paper": Tone("#f8f5ef", "#171614"),
    "card": Tone("#fffdf9", "#201e1b"),
    "well": Tone("#f3efe7", "#292723"),
    "line": Tone("#e5ded1", "#393630"),
    "line-strong": Tone("#8c8373", "#857d70"),
    "ink": Tone("#1c2530", "#f1ece3"),
    "ink-soft": Tone("#57606b", "#b3ab9e"),
    "accent": Tone("#0b6b66", "#5cc9bd"),
    "accent-strong": Tone("#08544f", "#7adbd0"),
    "accent-soft": Tone("#e0efec", "#193532"),
    "on-accent": Tone("#ffffff", "#08201e"),
    "amber": Tone("#7c4a00", "#f3c169"),
    "amber-soft": Tone("#fdf0d5", "#35290f"),
    "amber-line": Tone("#e3bd74", "#6d541f"),
    "red": Tone("#a3211b", "#ff9d93"),
    "red-soft": Tone("#fbe9e6", "#3d1b18"),
    "red-line": Tone("#e5a49d", "#7d3630"),
    "series-2": Tone("#7a5aa6", "#bda4e6"),
    "series-3": Tone("#a85a14", "#f0b072"),
    "series-4": Tone("#2f6db5", "#8fbdf2"),
    "series-5": Tone("#a13a6b", "#f09cc0"),
    "series-6": Tone("#5b6b2a", "#bccb82"),
}


def style_sheet() -> str:
    """Our own CSS: the palette as variables in both modes, then the rules."""
    light = "".join(f"--ml-{name}:{tone.light};" for name, tone in PALETTE.items())
    dark = "".join(f"--ml-{name}:{tone.dark};" for name, tone in PALETTE.items())
    return f":root{{{light}}}\n.dark{{{dark}}}\n" + STYLE_SHEET.read_text(encoding="utf-8")
