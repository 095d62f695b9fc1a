"""The table of all settings in docs/configuration.md, written from the schema.

`python -m medlora.config.reference` rewrites the part of the page between its two marks.
"""

from __future__ import annotations

from pathlib import Path

from medlora.config.environment import SHORT_NAMES, environment_name
from medlora.config.scalars import write_scalar
from medlora.config.schema import Config, SettingDoc, section_names, setting_docs

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md"
_BEGIN = "<!-- settings: written by python -m medlora.config.reference -->"
_END = "<!-- end of settings -->"


def render_reference() -> str:
    """Every setting by section, then the names of the environment variables."""
    parts = []
    for section in section_names():
        info = Config.model_fields[section]
        parts.append(f"### `{section}`\n\n{info.description}\n")
        parts += [_entry(doc) for doc in setting_docs() if doc.section == section]
    return "\n".join([*parts, _environment()])


def refresh_page(page: str) -> str:
    """The page with its settings as the schema has them now."""
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}\n\n{render_reference()}\n{_END}{tail}"


def _entry(doc: SettingDoc) -> str:
    lines = [f"#### `{doc.key}`", "", f"**{doc.title}.** {doc.help}", ""]
    lines.append(f"- Must be {doc.bounds}{'; may be `null`' if doc.optional else ''}")
    default = write_scalar(doc.default) if doc.default is not None else "no value"
    lines.append(f"- Default: `{default}`{f' ({doc.unit})' if doc.unit else ''}")
    if doc.guidance:
        lines += [f"- `{value}`: {text}" for value, text in doc.guidance]
    if doc.source:
        lines.append(f"- Source: {doc.source}")
    return "\n".join(lines) + "\n"


def _environment() -> str:
    rows = [f"| `{name}` | `{key}` |" for name, key in SHORT_NAMES.items()]
    example = environment_name("model.quantization_config.load_in_4bit")
    return "\n".join(
        [
            "### Environment variables",
            "",
            "| variable | setting |",
            "|---|---|",
            *rows,
            "",
            f"Every other setting has a long name, its dots written as two underscores: `{example}`.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(refresh_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
