"""The documentation of the settings is the schema's own."""

from __future__ import annotations

import pytest

from medlora.config.declare import SettingDoc
from medlora.config.reference import PAGE, refresh_page
from medlora.config.resolve import TemplateSearch, resolve_text
from medlora.config.schema import Config, setting_docs
from medlora.config.values import example_of


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == refresh_page(page), "run python -m medlora.config.reference"


@pytest.mark.parametrize("doc", setting_docs(), ids=lambda doc: doc.key)
def test_every_setting_explains_itself(doc: SettingDoc) -> None:
    assert doc.title
    assert len(doc.help) > 20
    assert doc.help.endswith(".")
    assert doc.bounds
    assert doc.kind != "other"


@pytest.mark.parametrize("doc", setting_docs(), ids=lambda doc: doc.key)
def test_every_example_in_a_message_is_itself_right(doc: SettingDoc) -> None:
    if doc.kind == "table":
        return
    section, _, rest = doc.key.partition(".")
    nested = "".join(f"{part}: {{" for part in rest.split(".")[:-1])
    text = f"{section}: {{{nested}{rest.split('.')[-1]}: {example_of(doc)}{'}' * nested.count('{')}}}"
    resolve_text(text, name="c", search=TemplateSearch(()))


def test_the_defaults_are_valid() -> None:
    assert Config.model_validate(Config().model_dump(mode="json")) == Config()
