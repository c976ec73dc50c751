"""``user``: who may sign in to the dashboard, and their API tokens.

Owns options and what is printed. The file and its rules are ``dashboard.access.users``'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from cli.context import common_options, readable_errors, settings_of
from cli.output import OutputFormat, format_option, print_rows
from dashboard.access.permissions import ROLES, Permission
from dashboard.access.users import (
    PASSWORD_LENGTH_MAX,
    Token,
    User,
    Users,
    UsersFault,
    new_token,
)
from runtime.clock import SystemClock

_USER_COLUMNS = ("name", "role", "accounts", "password", "disabled", "tokens")
_TOKEN_COLUMNS = ("name", "permissions", "accounts", "created_at", "expires_at")
_accounts_option = click.option(
    "--account",
    "accounts",
    multiple=True,
    help="Only this account; may be repeated (default: every account).",
)


@contextmanager
def _users(config: Path | None, data: Path | None) -> Iterator[Users]:
    with readable_errors():
        try:
            yield Users(settings_of(config, data).users_file)
        except UsersFault as fault:
            raise click.ClickException(str(fault)) from fault


@click.group("user")
def user() -> None:
    """Who may sign in to the dashboard, and API tokens.

    A running dashboard follows at once: a removed user is out with the next request.
    """


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), required=True, help="What they may do.")
@_accounts_option
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.option("--no-password", is_flag=True, help="For sign-in at a proxy, or for tokens only.")
@common_options
def add(
    name: str,
    role: str,
    accounts: tuple[str, ...],
    password_stdin: bool,
    no_password: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Add a user. The password is asked for, unless an option says otherwise."""
    if password_stdin and no_password:
        raise click.UsageError("either --password-stdin or --no-password")
    with _users(config, data) as users:
        password = None if no_password else users.hashed(_password(password_stdin))
        users.add(User(name, role, accounts or None, password))
    click.echo(f"added {name}, {role}", err=True)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(PASSWORD_LENGTH_MAX + 2).rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


@user.command("list")
@format_option
@common_options
def list_users(output: OutputFormat | None, config: Path | None, data: Path | None) -> None:
    """List users. Hashes are not shown."""
    with _users(config, data) as users:
        rows = [
            {
                "name": each.name,
                "role": each.role,
                "accounts": _listed(each.accounts),
                "password": each.password is not None,
                "disabled": each.is_disabled,
                "tokens": len(each.tokens),
            }
            for each in users.all()
        ]
    print_rows(rows, _USER_COLUMNS, output)


def _listed(accounts: tuple[str, ...] | None) -> str:
    return "all" if accounts is None else ",".join(accounts)


@user.command("remove")
@click.argument("name")
@common_options
def remove(name: str, config: Path | None, data: Path | None) -> None:
    """Remove a user with all tokens."""
    with _users(config, data) as users:
        users.remove(name)
    click.echo(f"removed {name}", err=True)


@user.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@common_options
def password(name: str, password_stdin: bool, config: Path | None, data: Path | None) -> None:
    """Give a user another password. Their sessions end."""
    with _users(config, data) as users:
        _change(users, name, password=users.hashed(_password(password_stdin)))
    click.echo(f"changed the password of {name}", err=True)


@user.command("change")
@click.argument("name")
@click.option("--role", type=click.Choice(list(ROLES)), help="What they may do from now on.")
@_accounts_option
@click.option("--all-accounts", is_flag=True, help="Every account from now on.")
@common_options
def change(
    name: str,
    role: str | None,
    accounts: tuple[str, ...],
    all_accounts: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Give a user another role or other accounts."""
    if accounts and all_accounts:
        raise click.UsageError("either --account or --all-accounts")
    if not (role or accounts or all_accounts):
        raise click.UsageError("nothing to change: add --role, --account or --all-accounts")
    changes: dict[str, object] = {"role": role} if role else {}
    if accounts or all_accounts:
        changes["accounts"] = accounts or None
    with _users(config, data) as users:
        _change(users, name, **changes)
    click.echo(f"changed {name}", err=True)


def _change(users: Users, name: str, **changes: object) -> None:
    users.change(name, lambda entry: msgspec.structs.replace(entry, **changes))


def _switch(verb: str, disabled: bool, summary: str) -> Callable[..., None]:
    @click.argument("name")
    @common_options
    def switch(name: str, config: Path | None, data: Path | None) -> None:
        with _users(config, data) as users:
            _change(users, name, is_disabled=disabled)
        click.echo(f"{verb}d {name}", err=True)

    switch.__doc__ = summary
    return switch


user.command("disable")(_switch("disable", True, "Let a user in no more, for now. Tokens stop working too."))
user.command("enable")(_switch("enable", False, "Let a disabled user in again."))


@user.group("token")
def token() -> None:
    """API tokens. One never allows more than its user may."""


@token.command("add")
@click.argument("name")
@click.argument("token_name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([permission.value for permission in Permission]),
    help="What it allows; may be repeated (default: usage).",
)
@_accounts_option
@click.option("--days", type=click.IntRange(1, 3660), help="Until it expires (default: never).")
@common_options
def add_token(
    name: str,
    token_name: str,
    permissions: tuple[str, ...],
    accounts: tuple[str, ...],
    days: int | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """Make a token and print it: it can not be shown again."""
    now = datetime.fromtimestamp(SystemClock().now_seconds(), UTC)
    chosen = tuple(Permission(each) for each in permissions) or (Permission.USAGE,)
    entry, text = new_token(
        token_name, chosen, accounts or None, now, now + timedelta(days=days) if days else None
    )
    with _users(config, data) as users:
        users.change(name, lambda known: msgspec.structs.replace(known, tokens=(*known.tokens, entry)))
    click.echo(text)


@token.command("list")
@click.argument("name")
@format_option
@common_options
def list_tokens(name: str, output: OutputFormat | None, config: Path | None, data: Path | None) -> None:
    """List a user's tokens."""
    with _users(config, data) as users:
        rows = [_token_row(each) for each in _tokens(users, name)]
    print_rows(rows, _TOKEN_COLUMNS, output)


def _tokens(users: Users, name: str) -> tuple[Token, ...]:
    known = {each.name: each for each in users.all()}
    if name not in known:
        raise UsersFault(f"there is no user {name}; `convometer user list` shows those that are there")
    return known[name].tokens


def _token_row(each: Token) -> dict[str, object]:
    return {
        "name": each.name,
        "permissions": ",".join(each.permissions),
        "accounts": "its user's" if each.accounts is None else ",".join(each.accounts),
        "created_at": each.created_at.isoformat(),
        "expires_at": each.expires_at.isoformat() if each.expires_at else "never",
    }


@token.command("revoke")
@click.argument("name")
@click.argument("token_name")
@common_options
def revoke(name: str, token_name: str, config: Path | None, data: Path | None) -> None:
    """Revoke a token: the next request with it is refused."""

    def without(known: User) -> User:
        left = tuple(each for each in known.tokens if each.name != token_name)
        if len(left) == len(known.tokens):
            raise UsersFault(
                f"{name} has no token {token_name}; `convometer user token list {name}` shows them"
            )
        return msgspec.structs.replace(known, tokens=left)

    with _users(config, data) as users:
        users.change(name, without)
    click.echo(f"revoked {token_name} of {name}", err=True)
