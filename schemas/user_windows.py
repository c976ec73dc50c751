"""A user's windows, as support staff ask for them: personal data, never part of totals.

Owns the shapes of question and answer. They travel from the dashboard to whoever has the user's state, and back.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class WindowsAsked(msgspec.Struct, frozen=True):
    """Whose windows are asked for."""

    account: str
    user: str
    """A phone number in digits (E.164 without +), or a BSUID."""
    at: int
    """UTC seconds: what is open is told as of then."""
    number: str = ""
    """Empty = of every business number."""
    key: str = ""
    """The name under which to look, where somebody else found a reference to it; empty = that of the user."""


class Elsewhere(msgspec.Struct, frozen=True):
    """The state is in a partition that is not open in the process asked."""

    partition: int
    key: str
    """The name to look under there."""


class UserWindow(msgspec.Struct, frozen=True):
    """A conversation of one user, or a customer service window."""

    type: str
    """``customer_service``, or the type of a conversation (docs/spec/metering.md §3)."""
    number: str
    opened_at: datetime
    """UTC."""
    ends_at: datetime
    """UTC; the first instant at which it is closed."""
    is_open: bool
    messages: int | None = None
    """Outgoing messages in a conversation."""
    is_charged: bool | None = None
    """Of a conversation: whether it counts as charged."""


class UserWindows(msgspec.Struct, frozen=True):
    """What is known of one user's windows, newest first."""

    account: str
    user: str
    """As asked for."""
    names: tuple[str, ...]
    """All phones and BSUIDs that are linked with it, sorted."""
    is_known: bool
    """Whether any state of this user is left."""
    customer_service: tuple[UserWindow, ...]
    """The last customer service window of each business number."""
    conversations: tuple[UserWindow, ...]
    kept_from: datetime | None
    """Earlier ones are only in the totals; None = nothing was forgotten yet."""
