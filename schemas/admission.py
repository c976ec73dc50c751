"""Which accounts are metered: all, or only those that the settings name.

Owns the policy for every entrance, so that gateway, files and input topics refuse alike.
"""

from __future__ import annotations

from schemas.events import Event, Parsed, Refusal, canonical_json

KnownAccounts = frozenset[str] | None
"""The only accounts to accept; None = every account."""


def admit(parsed: Parsed, known: KnownAccounts) -> Parsed:
    """Return what was parsed, with the events of unknown accounts turned into refusals."""
    if known is None or all(event.account in known for event in parsed.events):
        return parsed
    return Parsed(
        [event for event in parsed.events if event.account in known],
        [
            *parsed.refusals,
            *(unknown_account(event) for event in parsed.events if event.account not in known),
        ],
        parsed.ignored,
    )


def unknown_account(event: Event) -> Refusal:
    """Return the refusal of an event of an account that is not configured; its payload is the canonical event."""
    detail = "the account has no entry in the settings, and unknown_accounts is refuse"
    return Refusal("unknown_account", detail, canonical_json(event), event.account)
