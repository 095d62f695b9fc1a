"""What went wrong with a server, in words of our own.

Why never the server's words: they may repeat what a patient wrote, or be a model's, which nobody has judged.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import httpx

from medlora.config.server import Server
from medlora.errors import MedloraError, RunFailedError, UserError

KEY_VARIABLE = "MEDLORA_API_KEY"
_MOST_NAMES = 12
_TOO_LONG = (
    "context length",
    "context size",
    "context_length",
    "maximum context",
    "too long",
    "too many tokens",
)


class TooLongError(UserError):
    """The conversation is longer than the model can read."""


class NotTakenError(UserError):
    """The server refuses the question as it is written; with fewer settings it may take it."""


def explain_connection(server: Server, error: httpx.HTTPError, *, began: bool) -> MedloraError:
    """Why nothing came, or why it broke off once it had begun."""
    if began:
        return RunFailedError(f"server: the connection to {server.host} broke off in the middle; ask again")
    cause = _causes(error)
    if isinstance(error, httpx.TimeoutException):
        return UserError(f"server: {server.host} does not answer; is it running, and reachable from here?")
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in cause) or "CERTIFICATE" in str(error):
        return UserError(
            f"server: the certificate of {server.host} is not trusted here; "
            "name its authority's file in the environment variable SSL_CERT_FILE"
        )
    if isinstance(error, httpx.ConnectError):
        return UserError(
            f"server: nothing answers at {server.base_url}; start the server, or correct inference.base_url"
        )
    return RunFailedError(
        f"server: {server.host} hung up without an answer ({type(error).__name__}); ask again"
    )


def explain_status(
    server: Server, model: str, status: int, body: bytes, *, key: bool, offered: Sequence[str] = ()
) -> MedloraError:
    """What an answer other than 200 means. The body is only looked at, never quoted."""
    said = body[:20_000].decode("utf-8", "replace").lower()
    if status in (401, 403):
        what = "does not accept the key" if key else "wants a key"
        return UserError(
            f"server: {server.host} {what} (got {status}); put it into the environment variable "
            f"{KEY_VARIABLE} and start medlora again"
        )
    if status in (400, 404) and "model" in said and ("not found" in said or "not exist" in said):
        return explain_unknown(server, model, offered)
    if status == 404 and offered:
        return explain_unknown(server, model, offered)
    if status == 404:
        return UserError(
            f"server: there is no chat at {server.base_url} (got 404); inference.base_url usually ends in /v1"
        )
    if status in (400, 413, 422) and any(sign in said for sign in _TOO_LONG):
        return TooLongError(
            f"server: the conversation is longer than {model} can read; start a new one, or shorten it"
        )
    if status in (400, 422):
        return NotTakenError()
    if status in (429, 503):
        return UserError(f"server: {server.host} is busy (got {status}); ask again in a moment")
    if 300 <= status < 400:
        return UserError(
            f"server: {server.host} sends elsewhere (got {status}), which is not followed; "
            "write the final address into inference.base_url"
        )
    return RunFailedError(f"server: {server.host} had an error of its own (got {status}); its log says more")


def explain_refusal(server: Server) -> UserError:
    """The server takes the question in no way that it was written."""
    return UserError(
        f"server: {server.host} refuses the question however it is written; its own log says why"
    )


def explain_unknown(server: Server, model: str, offered: Sequence[str]) -> UserError:
    """There is no model of that name; which there are."""
    names = ", ".join(offered[:_MOST_NAMES])
    known = f"; it offers {names}" if names else ""
    return UserError(
        f"server: {server.host} has no model of this name (got {model}){known}; "
        "correct inference.served_models"
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and len(found) < 8:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
