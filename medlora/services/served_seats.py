"""A server's models in a comparison or a test script, asked as the configuration allows now."""

from __future__ import annotations

from urllib.parse import urlsplit

from medlora.config.schema import Config
from medlora.config.server import server_of
from medlora.errors import UserError
from medlora.feedback.records import short_model
from medlora.feedback.scripts import Seat
from medlora.services.chat import ChatService, ChatSettings
from medlora.services.configure import resolve_draft
from medlora.workspace import Workspace


def served_seat(config: Config | None, model: str) -> Seat:
    """A model that the configuration's server offers, as a speaker.

    Raises: UserError where the configuration has errors or names no server.
    """
    server = server_of(config.inference) if config is not None else None
    if server is None:
        raise UserError(f"{short_model(model)}: the configuration names no server; set inference.base_url")
    return Seat(base_model=model, server=server.base_url)


def served_settings(service: ChatService, seat: Seat, config: Config | None = None) -> ChatSettings:
    """What it is asked with, by the configuration given, else the one that is being written.

    Why the address is compared: a prompt must not go to another server than the one that was chosen for it.
    Raises: UserError where the server is not named any more, or may not be asked from here.
    """
    config = config or resolve_draft(service.workspace)
    server = server_of(config.inference) if config is not None else None
    if config is None or server is None or server.base_url != seat.server:
        raise UserError(
            f"{name_seat(seat)}: the configuration does not name this server (got "
            f"{server.base_url if server else 'none'}); set inference.base_url to {seat.server}"
        )
    return service.settings_for_server(config, seat.base_model)


def refuse_served(ws: Workspace, name: str) -> None:
    """Raises: UserError if this is no adapter but a model of the server, which cannot be evaluated."""
    config = None if ws.adapter(name).is_dir() else resolve_draft(ws)
    server = server_of(config.inference) if config is not None else None
    if server is not None and name in server.models:
        raise UserError(
            f"evaluation: {short_model(name)} is a model of the server at {server.host}, which tells words "
            "and not the probabilities that loss is measured by; compare it blind, or put it to a test script"
        )


def name_seat(seat: Seat) -> str:
    """A speaker in words; a server's model with where it is."""
    if seat.server:
        return f"{short_model(seat.base_model)} at {urlsplit(seat.server).netloc.lower()}"
    return seat.adapter or f"{short_model(seat.base_model)} (base model)"
