"""The page's events called over HTTP, as a script does that knows nothing of a browser."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Outcome:
    """What an event answered: its last output, what it told in toasts, whether it went through."""

    success: bool = False
    data: list[Any] = field(default_factory=list)
    toasts: list[str] = field(default_factory=list)
    error: str = ""


class Script:
    """One visitor without a browser: a session of its own, cookies kept."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.client = httpx.Client(base_url=url, headers=headers or {}, timeout=60, trust_env=False)
        self.session = secrets.token_hex(6)
        self._config: dict[str, Any] | None = None

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @property
    def config(self) -> dict[str, Any]:
        if self._config is None:
            reply = self.client.get("/config")
            reply.raise_for_status()
            self._config = reply.json()
        return self._config

    def component(self, elem_id: str) -> int:
        return next(
            int(item["id"])
            for item in self.config["components"]
            if item.get("props", {}).get("elem_id") == elem_id
        )

    def dependency(self, elem_id: str, event: str = "click") -> dict[str, Any]:
        """The event that this widget starts."""
        target = [self.component(elem_id), event]
        found = [dep for dep in self.config["dependencies"] if target in dep["targets"]]
        return dict(next(dep for dep in found if dep["backend_fn"]))

    def open(self) -> Script:
        """What a browser does when the page and each tab open: the events that fill the choices."""
        for dependency in self.config["dependencies"]:
            events = {event for _, event in dependency["targets"]}
            if dependency["backend_fn"] and events & {"load", "select"}:
                self.call(dependency)
        return self

    def dependency_of_tab(self, tab_id: str) -> dict[str, Any]:
        """What a tab reads when it is opened."""
        tab = next(
            item["id"]
            for item in self.config["components"]
            if item["type"] == "tabitem" and item.get("props", {}).get("id") == tab_id
        )
        found = [dep for dep in self.config["dependencies"] if [tab, "select"] in dep["targets"]]
        return dict(next(dep for dep in found if dep["backend_fn"]))

    def dependency_of_load(self, elem_id: str) -> dict[str, Any]:
        """What fills this widget when the page opens."""
        number = self.component(elem_id)
        return dict(
            next(
                dep
                for dep in self.config["dependencies"]
                if number in dep["outputs"] and any(event == "load" for _, event in dep["targets"])
            )
        )

    def press(self, elem_id: str, event: str = "click", **values: Any) -> Outcome:
        """Start the event with its widgets as the page first shows them, but for `values` by elem_id."""
        return self.call(self.dependency(elem_id, event), values)

    def call(self, dependency: dict[str, Any], values: dict[str, Any] | None = None) -> Outcome:
        parts = {item["id"]: item for item in self.config["components"]}
        data = [_value(parts[number], values or {}) for number in dependency["inputs"]]
        target = dependency["targets"][0][0] if dependency["targets"] else None
        joined = self.client.post(
            "/gradio_api/queue/join",
            json={
                "data": data,
                "fn_index": dependency["id"],
                "session_hash": self.session,
                "trigger_id": target,
            },
        )
        if joined.status_code != 200:
            return Outcome(error=f"{joined.status_code} {joined.text}")
        return self.listen()

    def listen(self) -> Outcome:
        outcome = Outcome()
        for message in self._messages():
            kind = message["msg"]
            if kind == "log":
                outcome.toasts.append(str(message["log"]))
            elif kind == "process_generating" and message["success"]:
                outcome.data = merge(outcome.data, message["output"].get("data", []))
            elif kind == "process_completed":
                outcome.success = bool(message["success"])
                output = message["output"]
                outcome.error = str(output.get("error") or "")
                outcome.data = output.get("data") or outcome.data
                return outcome
        return outcome

    def _messages(self) -> Iterator[dict[str, Any]]:
        parameters = {"session_hash": self.session}
        with self.client.stream("GET", "/gradio_api/queue/data", params=parameters, timeout=120) as stream:
            rest = b""
            for piece in stream.iter_bytes():
                # Not iter_lines: to it a U+2028 in a text is the end of a line.
                *lines, rest = (rest + piece).split(b"\n")
                yield from (json.loads(line[5:]) for line in lines if line.startswith(b"data:"))


def _value(part: dict[str, Any], given: dict[str, Any]) -> Any:
    """What the page sends for a widget: what was given, else what it first shows; an empty text is empty."""
    props = part.get("props", {})
    shown = props.get("value")
    if shown is None and part.get("type") == "textbox":
        shown = ""
    return given.get(props.get("elem_id") or "", shown)


def merge(before: list[Any], now: list[Any]) -> list[Any]:
    """Later outputs over earlier ones; a diff (a list of edits) is kept as it is."""
    return now or before
