"""`users`: who may log in once the app answers to others."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json, print_table
from medlora.errors import UserError
from medlora.services import conversations, users
from medlora.workspace import Workspace

commands = typer.Typer(help="Who may log in.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The user's name.")]
StdinFlag = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, for scripts.")
]


def _ask_password(from_stdin: bool) -> str:
    """Why never an argument: the list of processes and the shell's history would hold it."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UserError("password: there is no terminal to type it in; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@commands.command("add")
def add(
    name: NameArgument,
    role: Annotated[str, typer.Option(help="admin (everything) or tester (chat and rate).")] = "tester",
    without_password: Annotated[
        bool, typer.Option("--no-password", help="For a login by a proxy's header alone.")
    ] = False,
    password_stdin: StdinFlag = False,
    json: JsonFlag = False,
) -> None:
    """Add a user."""
    password = None if without_password else _ask_password(password_stdin)
    made = users.add_user(Workspace.open(), name, role, password)
    if json:
        print_json({"name": made.name, "role": made.role})
        return
    print(f"{made.name}: added as {made.role}")


@commands.command("list")
def list_all(json: JsonFlag = False) -> None:
    """List the users and their roles."""
    found = users.list_users(Workspace.open())
    if json:
        print_json([{"name": user.name, "role": user.role, "created": user.created} for user in found])
        return
    print_table(("NAME", "ROLE", "ADDED"), [(user.name, user.role, user.created[:16]) for user in found])


@commands.command("remove")
def remove(name: NameArgument, json: JsonFlag = False) -> None:
    """Remove a user; they are logged out at once."""
    ws = Workspace.open()
    users.remove_user(ws, name)
    kept = len(conversations.list_kept(ws, name))
    if json:
        print_json({"name": name, "removed": True, "kept_conversations": kept})
        return
    print(f"{name}: removed")
    if kept:
        print(
            f"{kept} kept conversations of theirs are still here, and whoever gets this name next could read "
            f"them; delete them with: python -m medlora conversations delete --all --user {name}"
        )


@commands.command("passwd")
def passwd(name: NameArgument, password_stdin: StdinFlag = False, json: JsonFlag = False) -> None:
    """Set another password; the user is logged out at once."""
    users.set_password(Workspace.open(), name, _ask_password(password_stdin))
    if json:
        print_json({"name": name, "changed": True})
        return
    print(f"{name}: has a new password")
