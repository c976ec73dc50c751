"""What a way out for notices is, and how it says that it did not take them. Owns no way out itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from schemas.alerts import Notice

ChannelKind = Literal["webhook", "email", "clickhouse"]
"""A word for metrics."""


class DeliveryFailed(RuntimeError):
    """A channel did not take a notice; the text can be logged and shown."""

    def __init__(self, text: str, *, is_final: bool = False, retry_after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.is_final = is_final
        """It will never be taken: there is no use in trying again."""
        self.retry_after_seconds = retry_after_seconds
        """Not earlier than this; 0 = the other side said nothing."""


class Channel(Protocol):
    """One way out for notices."""

    kind: ChannelKind
    title: str
    """What people are told of it; no secret is in it."""
    batch_max: int
    """How many notices it takes at once."""
    gives_up: bool
    """Whether a notice may be given up once it is too old."""

    def wants(self, notice: Notice) -> bool:
        """Tell whether a notice is to go this way."""
        ...

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Deliver notices; some may have been delivered before, with the same id.

        Raises:
            DeliveryFailed: none of them was taken, or it is not known.
        """
        ...


@runtime_checkable
class KeepingChannel(Channel, Protocol):
    """A way out that keeps what it took, and can be put back to what it had before."""

    async def lacks(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Return those notices that are not there.

        Raises:
            DeliveryFailed: it cannot be asked now.
        """
        ...
