"""The palette can be read by everyone."""

import pytest

from medlora.ui.palette import PALETTE, style_sheet
from medlora.ui.theme import make_theme

READ_ON = [
    ("ink", ("paper", "card", "well", "accent-soft", "amber-soft", "red-soft")),
    ("ink-soft", ("paper", "card", "well", "accent-soft")),
    ("accent", ("paper", "card", "well", "accent-soft")),
    ("on-accent", ("accent", "accent-strong")),
    ("amber", ("card", "amber-soft")),
    ("red", ("card", "red-soft", "paper")),
]
SEEN_ON = [("line-strong", ("card", "paper")), ("series-2", ("card",)), ("accent", ("card",))]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_stands_out_at_4_5_to_1(mode: str) -> None:
    for tone, surfaces in READ_ON:
        for surface in surfaces:
            ratio = contrast(getattr(PALETTE[tone], mode), getattr(PALETTE[surface], mode))
            assert ratio >= 4.5, f"{mode}: {tone} on {surface}: {ratio:.2f}"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_edge_and_curve_stands_out_at_3_to_1(mode: str) -> None:
    for tone, surfaces in SEEN_ON:
        for surface in surfaces:
            ratio = contrast(getattr(PALETTE[tone], mode), getattr(PALETTE[surface], mode))
            assert ratio >= 3.0, f"{mode}: {tone} on {surface}: {ratio:.2f}"


def test_the_theme_fetches_no_font() -> None:
    assert make_theme()._stylesheets == []


def test_the_style_sheet_uses_the_palette_alone() -> None:
    rules = style_sheet().split("\n", 2)[2]
    assert "#" not in "".join(line for line in rules.splitlines() if "color" in line and "#chat" not in line)
    assert "http" not in rules and "@import" not in rules
