"""The ``convometer`` command: its verbs, loaded one by one when they are called.

Owns the list of verbs and their summaries. Loading lazily keeps ``--help`` and ``generate`` free of the database
engine's start-up time.
"""

from __future__ import annotations

import signal
from importlib import import_module
from importlib.metadata import version

import click

VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("cli.run", "run", "Run everything on this machine, in the foreground."),
    "gateway": ("cli.run", "gateway", "Take webhooks and append them to Kafka."),
    "worker": ("cli.run", "worker", "Meter the partitions that Kafka assigns."),
    "dashboard": ("cli.dashboard", "dashboard", "Serve the billing dashboard and its API."),
    "ingest": ("cli.ingest", "ingest", "Feed files of webhook bodies or events."),
    "usage": ("cli.query", "usage", "Outgoing messages by day, number, country and category."),
    "conversations": (
        "cli.query",
        "conversations",
        "24-hour conversations by day, number, country and type.",
    ),
    "incoming": ("cli.query", "incoming", "Incoming messages by day, number and country."),
    "active-users": ("cli.query", "active_users", "Monthly active users by account and number."),
    "charges": ("cli.charges", "charges", "What it costs by the provider's rate cards, under any regime."),
    "report": ("cli.report", "report", "The final report of a month: json, csv, xlsx or pdf."),
    "burn-down": (
        "cli.burn_down",
        "burn_down",
        "How much of packages, free messages, budgets and tiers is used.",
    ),
    "alerts": ("cli.alerts", "alerts", "Notices before a package is used up, and a test of their ways."),
    "plan": ("cli.plan", "plan", "Check and show plans: licences, packages, prices."),
    "rates": ("cli.rates", "rates", "Show, check and import rate cards."),
    "user": ("cli.user", "user", "Who may sign in to the dashboard, and API tokens."),
    "dlq": ("cli.dlq", "dlq", "Look at what could not be counted, and send it again."),
    "doctor": ("cli.doctor", "doctor", "Check an installation and say what to do."),
    "migrate": ("cli.migrate", "migrate_command", "Bring ClickHouse to the schema of this version."),
    "selftest": ("cli.selftest", "selftest", "Run everything under faults and compare with the truth."),
    "generate": ("cli.generate", "generate", "Write realistic webhook traffic with a known truth."),
}
"""Verb to module, attribute and summary."""
SERVING = frozenset({"run", "gateway", "worker", "dashboard"})
"""Verbs that read their settings again at SIGHUP."""


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order of the table above."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a verb."""
        if cmd_name not in VERBS:
            return None
        if cmd_name in SERVING:
            # Before the imports, which take a second. A handler and not SIG_IGN, which processes that we start inherit.
            signal.signal(signal.SIGHUP, lambda _signal, _frame: None)
        module, attribute, _ = VERBS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, summary) for verb, (_, _, summary) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("convometer"), prog_name="convometer")
def main() -> None:
    """Exact metering of WhatsApp Business traffic: messages, conversations, monthly active users."""


if __name__ == "__main__":
    main()
