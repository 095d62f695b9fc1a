"""The look as Gradio's theme: each of its variables in a colour of the palette, its sizes in ours."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.themes import Base
from gradio.themes.utils import sizes

from medlora.ui.palette import PALETTE

SANS = (
    "-apple-system",
    "Segoe UI Variable Text",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Liberation Sans",
    "Arial",
    "sans-serif",
)
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Consolas", "Liberation Mono", "monospace")


# Gradio's variable → the colour it takes.
_SURFACES = {
    "body_background_fill": "paper",
    "background_fill_primary": "card",
    "background_fill_secondary": "well",
    "block_background_fill": "card",
    "panel_background_fill": "card",
    "code_background_fill": "well",
    "input_background_fill": "card",
    "input_background_fill_focus": "card",
    "input_background_fill_hover": "card",
    "table_even_background_fill": "card",
    "table_odd_background_fill": "card",
    "table_row_focus": "accent-soft",
    "stat_background_fill": "accent",
    "checkbox_background_color": "card",
    "checkbox_background_color_selected": "accent",
    "checkbox_background_color_focus": "card",
    "checkbox_background_color_hover": "card",
    "checkbox_label_background_fill": "card",
    "checkbox_label_background_fill_hover": "well",
    "checkbox_label_background_fill_selected": "accent-soft",
    "block_label_background_fill": "card",
    "error_background_fill": "red-soft",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-strong",
    "button_secondary_background_fill": "card",
    "button_secondary_background_fill_hover": "well",
    "button_cancel_background_fill": "card",
    "button_cancel_background_fill_hover": "red-soft",
}
_INKS = {
    "body_text_color": "ink",
    "body_text_color_subdued": "ink-soft",
    "block_label_text_color": "ink-soft",
    "block_title_text_color": "ink",
    "block_info_text_color": "ink-soft",
    "accordion_text_color": "ink",
    "table_text_color": "ink",
    "input_placeholder_color": "ink-soft",
    "checkbox_label_text_color": "ink",
    "checkbox_label_text_color_selected": "ink",
    "link_text_color": "accent",
    "link_text_color_hover": "accent-strong",
    "link_text_color_visited": "accent",
    "link_text_color_active": "accent",
    "button_primary_text_color": "on-accent",
    "button_primary_text_color_hover": "on-accent",
    "button_secondary_text_color": "ink",
    "button_secondary_text_color_hover": "ink",
    "button_cancel_text_color": "red",
    "button_cancel_text_color_hover": "red",
    "error_text_color": "red",
    "error_icon_color": "red",
    "loader_color": "accent",
    "slider_color": "accent",
}
_LINES = {
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "border_color_accent_subdued": "line",
    "block_border_color": "line",
    "block_label_border_color": "line",
    "input_border_color": "line-strong",
    "input_border_color_hover": "line-strong",
    "input_border_color_focus": "accent",
    "panel_border_color": "line",
    "table_border_color": "line",
    "checkbox_border_color": "line-strong",
    "checkbox_border_color_hover": "accent",
    "checkbox_border_color_focus": "accent",
    "checkbox_border_color_selected": "accent",
    "checkbox_label_border_color": "line",
    "checkbox_label_border_color_hover": "line-strong",
    "checkbox_label_border_color_selected": "accent",
    "error_border_color": "red-line",
    "button_primary_border_color": "accent",
    "button_primary_border_color_hover": "accent-strong",
    "button_secondary_border_color": "line-strong",
    "button_secondary_border_color_hover": "ink-soft",
    "button_cancel_border_color": "red-line",
    "button_cancel_border_color_hover": "red",
}
_PLAIN = {
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_padding": "0px",
    "block_radius": "8px",
    "block_label_border_width": "0px",
    "block_title_text_weight": "600",
    "block_title_text_size": "14px",
    "block_label_text_size": "14px",
    "block_info_text_size": "13px",
    "body_text_size": "15px",
    "prose_text_size": "15px",
    "input_text_size": "15px",
    "chatbot_text_size": "15px",
    "checkbox_label_text_size": "15px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px var(--ml-accent-soft)",
    "input_radius": "8px",
    "input_padding": "10px 12px",
    "checkbox_label_padding": "8px 12px",
    "checkbox_border_radius": "4px",
    "checkbox_shadow": "none",
    "checkbox_label_shadow": "none",
    "layout_gap": "16px",
    "form_gap_width": "0px",
    "button_border_width": "1px",
    "button_large_radius": "8px",
    "button_medium_radius": "8px",
    "button_small_radius": "8px",
    "button_large_padding": "11px 20px",
    "button_medium_padding": "9px 16px",
    "button_small_padding": "6px 12px",
    "button_large_text_size": "15px",
    "button_large_text_weight": "600",
    "button_medium_text_size": "15px",
    "button_medium_text_weight": "600",
    "button_small_text_size": "14px",
    "button_small_text_weight": "600",
    "button_primary_shadow": "none",
    "button_primary_shadow_hover": "none",
    "button_primary_shadow_active": "none",
    "button_secondary_shadow": "none",
    "button_secondary_shadow_hover": "none",
    "button_secondary_shadow_active": "none",
    "button_transform_hover": "none",
    "button_transform_active": "none",
    "table_radius": "8px",
    "section_header_text_size": "18px",
    "section_header_text_weight": "600",
}


def _variables() -> dict[str, Any]:
    colours: dict[str, Any] = {}
    for name, tone in {**_SURFACES, **_INKS, **_LINES}.items():
        colours[name] = PALETTE[tone].light
        colours[f"{name}_dark"] = PALETTE[tone].dark
    colours["color_accent"] = "var(--ml-accent)"
    colours["color_accent_soft"] = PALETTE["accent-soft"].light
    colours["color_accent_soft_dark"] = PALETTE["accent-soft"].dark
    return {**colours, **_PLAIN}


def make_theme() -> Base:
    """Gradio's theme in our colours; system fonts, so nothing is fetched."""
    theme = Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
        font=SANS,
        font_mono=MONO,
    )
    known = {name: value for name, value in _variables().items() if hasattr(theme, name)}
    missing = set(_variables()) - set(known)
    for name in missing:
        if not name.endswith("_dark"):
            raise ValueError(f"theme: {name}: Gradio has no such variable")
    return theme.set(**known)
