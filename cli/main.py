"""The ``convometer`` command: its verbs, loaded one by one when they are called.

Owns the list of verbs. Loading lazily keeps ``--help`` and ``generate`` free of the database engine's start-up time.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

import click

VERBS: dict[str, tuple[str, str]] = {
    "run": ("cli.run", "run"),
    "ingest": ("cli.ingest", "ingest"),
    "usage": ("cli.query", "usage"),
    "conversations": ("cli.query", "conversations"),
    "incoming": ("cli.query", "incoming"),
    "active-users": ("cli.query", "active_users"),
    "migrate": ("cli.migrate", "migrate_command"),
    "doctor": ("cli.doctor", "doctor"),
    "dlq": ("cli.dlq", "dlq"),
    "generate": ("cli.generate", "generate"),
}


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of the table above."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a verb."""
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("convometer"), prog_name="convometer")
def main() -> None:
    """Exact metering of WhatsApp Business traffic: messages, conversations, monthly active users."""
