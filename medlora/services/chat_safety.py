"""Which safety settings a chat obeys: an adapter's own and those in force here, whichever is stricter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTS = ("safety_keywords", "defer_keywords")
_EITHER = ("content_filter", "strict", "semantic")
_HERE = ("country", "messages", "audit_raw_text")


def join_safety(own: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """An adapter's settings under those of the configuration in force.

    Why: an adapter trained long ago must obey the words added since, and name the numbers of the place it
    is used at; and a laxer configuration must not loosen what an adapter was published with.
    Keywords of both count, and what either switches on is on. Country, texts and what is recorded belong to
    the place; the adapter's own stand where the place says nothing. The system prompt is the adapter's.
    """
    joined = {**here, **own}
    for key in _LISTS:
        joined[key] = list(dict.fromkeys([*(own.get(key) or ()), *(here.get(key) or ())]))
    for key in _EITHER:
        joined[key] = bool(own.get(key)) or bool(here.get(key))
    for key in _HERE:
        if here.get(key) not in (None, "", "none", {}):
            joined[key] = here[key]
    return joined
