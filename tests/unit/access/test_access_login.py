"""Users, sessions, tries: who gets in, for how long, and how often one may try."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlora.access.attempts import ADDRESS_TRIES, Attempts, Key
from medlora.access.roles import GUEST, OWNER, Caller, Permission, Role
from medlora.access.sessions import SessionLimits
from medlora.access.users import Users
from medlora.cli.root import cli
from medlora.errors import NotFoundError, UserError
from medlora.safety.audit import AuditLog
from medlora.services import users
from medlora.services.users import Door
from medlora.workspace import Workspace

PASSWORD = "correct horse battery"


class Clock:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(ws: Workspace, clock: Clock) -> Door:
    users.add_user(ws, "Ada", "admin", PASSWORD)
    return Door(ws, SessionLimits(lifetime_s=1000, idle_s=100), clock)


def test_what_each_role_may_do() -> None:
    tester = Caller("t", Role.TESTER)
    assert [OWNER.may(item) for item in Permission] == [True] * len(Permission)
    assert {item for item in Permission if tester.may(item)} == {
        Permission.CHAT,
        Permission.TRY_SAFETY,
        Permission.RATE,
    }
    assert not GUEST.may(Permission.MANAGE) and not GUEST.may(Permission.RATE)


def test_a_password_is_kept_as_a_hash_alone_in_a_private_file(ws: Workspace, door: Door) -> None:
    path = ws.private / "access" / "users.json"
    text = path.read_text(encoding="utf-8")
    assert PASSWORD not in text and '"$argon2id$' in text
    if os.name == "posix":
        assert [item.stat().st_mode & 0o777 for item in (path, path.parent)] == [0o600, 0o700]


def test_the_right_password_opens_a_session_and_a_wrong_one_does_not_say_what_was_wrong(door: Door) -> None:
    token = door.enter("ada", PASSWORD, "10.0.0.1")
    assert door.sessions.caller(token) == Caller("Ada", Role.ADMIN)
    for name, password in (("Ada", "wrong"), ("nobody", PASSWORD), ("Ada", ""), ("", "")):
        with pytest.raises(UserError, match="This name and password do not belong together"):
            door.enter(name, password, f"10.0.0.{len(name + password)}")


def test_a_session_ends_with_time_with_idleness_and_with_logging_out(door: Door, clock: Clock) -> None:
    token = door.enter("Ada", PASSWORD, "a")
    for _ in range(10):
        clock.now += 99
        assert door.sessions.caller(token) is not None
    clock.now += 99
    assert door.sessions.caller(token) is None, "its lifetime is over, however busy it was"
    idle = door.enter("Ada", PASSWORD, "a")
    clock.now += 101
    assert door.sessions.caller(idle) is None
    left = door.enter("Ada", PASSWORD, "a")
    door.leave(left)
    assert door.sessions.caller(left) is None


def test_a_session_ends_when_its_user_is_removed_or_gets_another_password(ws: Workspace, door: Door) -> None:
    """The command line changes the file from another process."""
    token = door.enter("Ada", PASSWORD, "a")
    users.set_password(ws, "Ada", "another long password")
    assert door.sessions.caller(token) is None
    token = door.enter("Ada", "another long password", "a")
    users.remove_user(ws, "Ada")
    assert door.sessions.caller(token) is None


def test_after_some_tries_one_must_wait_even_with_the_right_password(door: Door, clock: Clock) -> None:
    for _ in range(ADDRESS_TRIES):
        with pytest.raises(UserError, match="do not belong together"):
            door.enter("Ada", "wrong", "10.0.0.9")
    with pytest.raises(UserError, match=r"Too many tries\. Wait 2 seconds"):
        door.enter("Ada", PASSWORD, "10.0.0.9")
    assert door.enter("Ada", PASSWORD, "10.0.0.1"), "another address is not locked out"
    clock.now += 2.1
    assert door.enter("Ada", PASSWORD, "10.0.0.9")


def test_each_further_try_waits_twice_as_long_up_to_a_quarter_of_an_hour() -> None:
    clock = Clock()
    attempts, key = Attempts(clock), Key("somebody", 1)
    waits = []
    for _ in range(14):
        assert attempts.begin(key) == 0
        waits.append(attempts.begin(key))
        clock.now += waits[-1]
    assert waits[:4] == [2, 4, 8, 16] and waits[-1] == 900


def test_logins_are_audited_without_what_was_typed(ws: Workspace, door: Door) -> None:
    token = door.enter("Ada", PASSWORD, "a")
    door.leave(token)
    with pytest.raises(UserError):
        door.enter("my-password-in-the-wrong-field", "x", "b")
    entries = [
        {key: entry[key] for key in ("event", "user", "role") if key in entry}
        for entry in AuditLog(ws.audit).entries()
    ]
    assert entries == [
        {"event": "login", "user": "Ada", "role": "admin"},
        {"event": "logout", "user": "Ada", "role": "admin"},
        {"event": "login refused"},
    ]
    assert "wrong-field" not in (ws.audit / "audit.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a\nb", "-x", "x" * 65, "ä"])
def test_an_unusable_name_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(UserError, match="user: the name is not usable"):
        users.add_user(ws, name, "tester", PASSWORD)


def test_a_taken_name_a_short_password_and_an_unknown_role_are_refused(ws: Workspace, door: Door) -> None:
    with pytest.raises(UserError, match="user: there is one of this name \\(got 'ADA'\\)"):
        users.add_user(ws, "ADA", "tester", PASSWORD)
    with pytest.raises(UserError, match="password: 10 to 256 characters \\(got 5\\)"):
        users.add_user(ws, "bob", "tester", "short")
    with pytest.raises(UserError, match="role: there is no such role \\(got 'guest'\\); use admin or tester"):
        users.add_user(ws, "bob", "guest", PASSWORD)
    with pytest.raises(NotFoundError, match="there are: Ada"):
        users.remove_user(ws, "bob")


def test_a_user_without_a_password_cannot_log_in_with_one(ws: Workspace, door: Door) -> None:
    users.add_user(ws, "carol", "tester", None)
    for password in ("", "forgotten-by-everybody-always!!!"):
        assert door.users.verify("carol", password) is None


def test_a_damaged_file_lets_nobody_in(ws: Workspace, door: Door) -> None:
    (ws.private / "access" / "users.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="the users cannot be read"):
        Users(ws.private / "access").all()
    with pytest.raises(UserError, match="the users cannot be read"):
        door.enter("Ada", PASSWORD, "a")


def test_users_are_managed_on_the_command_line(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLORA_HOME", str(ws.home))
    run = CliRunner().invoke
    added = run(cli, ["users", "add", "dora", "--role", "admin", "--password-stdin"], input=f"{PASSWORD}\n")
    assert added.output == "dora: added as admin\n"
    assert users.open_users(ws).verify("dora", PASSWORD) is not None
    run(cli, ["users", "passwd", "dora", "--password-stdin"], input="a quite different one\n")
    assert users.open_users(ws).verify("dora", PASSWORD) is None
    listed = json.loads(run(cli, ["users", "list", "--json"]).output)
    assert [(item["name"], item["role"]) for item in listed] == [("dora", "admin")]
    assert run(cli, ["users", "remove", "dora"]).output == "dora: removed\n"
    assert users.list_users(ws) == []
