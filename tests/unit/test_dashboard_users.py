"""The users file, and the verb that writes it."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.user import user as user_verb
from dashboard.access.permissions import Permission
from dashboard.access.users import User, Users, UsersFault, new_token
from tests.support.dashboards import FAST_HASHER

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PASSWORD = "correct horse battery"


@pytest.fixture
def users(tmp_path: Path) -> Users:
    """Return an empty users file."""
    return Users(tmp_path / "users.json", FAST_HASHER)


def test_a_password_is_right_or_nobody(users: Users) -> None:
    """Only the whole password of a user who has one and is not disabled is right."""
    users.add(User("ann", "viewer", None, users.hashed(PASSWORD)))
    users.add(User("bob", "viewer"))
    users.add(User("eve", "viewer", None, users.hashed(PASSWORD), is_disabled=True))
    found = users.verify("ann", PASSWORD)
    assert found is not None
    assert found.name == "ann"
    for name, password in (
        ("ann", PASSWORD + "x"),
        ("ann", PASSWORD[:-1]),
        ("ann", ""),
        ("bob", ""),
        ("bob", PASSWORD),
        ("eve", PASSWORD),
        ("nobody", PASSWORD),
    ):
        assert users.verify(name, password) is None, (name, password)


def test_long_passwords_are_not_cut(users: Users) -> None:
    """Of a password of the longest length every character counts, and a longer one is never right."""
    password = "x" * 1024
    users.add(User("ann", "viewer", None, users.hashed(password)))
    assert users.verify("ann", password) is not None
    assert users.verify("ann", password + "y") is None
    for bad in ("short", "x" * 1025):
        with pytest.raises(UsersFault, match="12 to 1024"):
            users.hashed(bad)


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (User("Ann", "viewer"), "lower-case"),
        (User("", "viewer"), "lower-case"),
        (User("a b", "viewer"), "lower-case"),
        (User("one-time link", "admin"), "lower-case"),
        (User("ann", "boss"), "role 'boss'"),
    ],
)
def test_unsound_users_are_not_written(users: Users, entry: User, part: str) -> None:
    """What could not be read again is not written."""
    with pytest.raises(UsersFault, match=part):
        users.add(entry)
    assert users.all() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"users": [{"name": "ann"}]}',
        b'{"users": [{"name": "ann", "role": "viewer", "is_root": true}]}',
        b'{"users": [{"name": "ann", "role": "viewer"}, {"name": "ann", "role": "admin"}]}',
        b'{"users": [{"name": "ann", "role": "king"}]}',
    ],
)
def test_a_damaged_file_is_never_overwritten(users: Users, content: bytes) -> None:
    """A file that cannot be read is a fault that says so, and stays as it is."""
    users.path.write_bytes(content)
    with pytest.raises(UsersFault):
        users.all()
    with pytest.raises(UsersFault):
        users.add(User("bob", "viewer"))
    assert users.find("ann") is None
    assert users.path.read_bytes() == content


def _add_many(path: Path, first: int) -> None:
    users = Users(path, FAST_HASHER)
    for number in range(first, first + 10):
        users.add(User(f"user-{number}", "viewer"))


def test_two_commands_at_once_lose_nothing(users: Users) -> None:
    """Two processes that add users side by side end with all of them."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add_many, args=(users.path, first)) for first in (0, 10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(users.all()) == 20
    assert users.path.stat().st_mode & 0o777 == 0o600


def test_a_token_is_good_until_it_expires(users: Users) -> None:
    """A token is its user's until its time, and its text is nowhere in the file."""
    entry, text = new_token("ci", (Permission.USAGE,), ("1",), NOW, NOW + timedelta(days=1))
    users.add(User("ann", "finance", ("1", "2"), tokens=(entry,)))
    principal = users.principal_of_token(text, NOW)
    assert principal is not None
    assert (principal.name, principal.accounts) == ("ann/ci", frozenset({"1"}))
    assert principal.permissions == {Permission.USAGE}
    assert users.principal_of_token(text, NOW + timedelta(days=1)) is None
    assert users.principal_of_token(text[:-1] + ("A" if text[-1] != "A" else "B"), NOW) is None
    secret = text.split("_", 2)[2]  # which may hold "_" itself
    assert secret not in users.path.read_text("utf-8")


@pytest.mark.parametrize("secret", ["_" * 43, "-" * 43, f"-_{'a' * 39}-_"])
def test_a_token_may_hold_the_letters_that_part_it(
    users: Users, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Every letter that a secret can be drawn with is taken, also where a token ends or its parts meet."""
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: secret)
    entry, text = new_token("ci", (Permission.USAGE,), None, NOW, None)
    users.add(User("ann", "viewer", tokens=(entry,)))
    principal = users.principal_of_token(text, NOW)
    assert principal is not None
    assert principal.name == "ann/ci"
    assert users.principal_of_token(text.removesuffix(text[-1]), NOW) is None


def test_a_disabled_users_tokens_stop_working(users: Users) -> None:
    """Disabling a user stops tokens too, and enabling brings them back."""
    entry, text = new_token("ci", (Permission.USAGE,), None, NOW, None)
    users.add(User("ann", "viewer", tokens=(entry,)))
    for is_disabled in (False, True, False):
        users.change("ann", partial(msgspec.structs.replace, is_disabled=is_disabled))
        assert (users.principal_of_token(text, NOW) is None) is is_disabled


def run(data: Path, *words: str, stdin: str = "") -> Result:
    """Run the verb."""
    return CliRunner().invoke(user_verb, [*words, "--data", str(data)], input=stdin)


def test_the_verb_adds_changes_and_removes(tmp_path: Path) -> None:
    """What each command did is in the list, and stdout holds nothing but data."""
    added = run(
        tmp_path,
        "add",
        "ann",
        "--role",
        "finance",
        "--account",
        "1",
        "--password-stdin",
        stdin=f"{PASSWORD}\n",
    )
    assert (added.exit_code, added.stdout) == (0, "")
    assert run(tmp_path, "add", "bob", "--role", "support", "--no-password").exit_code == 0
    assert run(tmp_path, "change", "ann", "--role", "viewer", "--all-accounts").exit_code == 0
    assert run(tmp_path, "disable", "bob").exit_code == 0
    token = run(tmp_path, "token", "add", "ann", "ci", "--days", "1").stdout.strip()
    listed = [json.loads(line) for line in run(tmp_path, "list", "--format", "ndjson").stdout.splitlines()]
    assert listed == [
        {
            "name": "ann",
            "role": "viewer",
            "accounts": "all",
            "password": True,
            "disabled": False,
            "tokens": 1,
        },
        {
            "name": "bob",
            "role": "support",
            "accounts": "all",
            "password": False,
            "disabled": True,
            "tokens": 0,
        },
    ]
    users = Users(tmp_path / "users.json", FAST_HASHER)
    assert users.verify("ann", PASSWORD) is not None
    assert users.principal_of_token(token, datetime.now(UTC)) is not None
    assert run(tmp_path, "password", "ann", "--password-stdin", stdin="another password\n").exit_code == 0
    assert users.verify("ann", PASSWORD) is None
    assert run(tmp_path, "token", "revoke", "ann", "ci").exit_code == 0
    assert users.principal_of_token(token, datetime.now(UTC)) is None
    assert run(tmp_path, "remove", "ann").exit_code == 0
    assert [each.name for each in users.all()] == ["bob"]


@pytest.mark.parametrize(
    ("words", "stdin", "status", "part"),
    [
        (["add", "bob", "--role", "viewer", "--no-password"], "", 1, "already"),
        (["add", "ann", "--role", "viewer", "--password-stdin"], "short\n", 1, "12 to 1024"),
        (["add", "ann", "--role", "king", "--no-password"], "", 2, "king"),
        (["add", "ann", "--role", "viewer", "--no-password", "--password-stdin"], "", 2, "either"),
        (["remove", "ann"], "", 1, "no user ann"),
        (["change", "bob"], "", 2, "nothing to change"),
        (["token", "revoke", "bob", "ci"], "", 1, "no token ci"),
        (["token", "add", "bob", "not a name"], "", 1, "token"),
        (["token", "list", "ann"], "", 1, "no user ann"),
    ],
)
def test_the_verb_says_what_is_wrong(
    tmp_path: Path, words: list[str], stdin: str, status: int, part: str
) -> None:
    """A mistake is named, and changes nothing."""
    run(tmp_path, "add", "bob", "--role", "viewer", "--no-password")
    before = (tmp_path / "users.json").read_bytes()
    done = run(tmp_path, *words, stdin=stdin)
    assert done.exit_code == status
    assert part in done.output
    assert (tmp_path / "users.json").read_bytes() == before
