"""What the provider says on each status: category, pricing and conversation, in the shapes of the time.

Owns the provider's habits, including its odd ones (no pricing at all, pricing that changes between two statuses, a
free entry point it forgets to mention). It is *not* the truth: the truth reads only what was said.
"""

from __future__ import annotations

from bisect import bisect_right
from random import Random

import msgspec

from schemas.events import TEMPLATE_CATEGORIES, PricingType
from simulation.story import Draft
from simulation.world import DAY_SECONDS, HOUR_SECONDS, Incoming, Said

# UTC midnights at which the provider's webhooks change. Real ones follow the account's zone; which shape a message
# near midnight has does not matter, because the truth reads the shape and not the date.
SERVICE_FREE_FROM = 1_730_419_200  # 2024-11-01
PER_MESSAGE_FROM = 1_751_328_000  # 2025-07-01
LONG_ENTRY_POINTS_FROM = 1_789_948_800  # 2026-09-21
WINDOW_CHARGED_FROM = 1_790_812_800  # 2026-10-01

Words = tuple[Said | None, Said | None]
"""What is said on ``sent``, and on the first of delivered and read."""

_ENTRY_POINT_SECONDS = 72 * HOUR_SECONDS

_SILENT_SHARE = 0.03
_CATEGORY_ONLY_SHARE = 0.02
_RESTATED_SHARE = 0.01
_FORGOTTEN_SHARE = 0.03
_NO_BILLABLE_FLAG_SHARE = 0.02


class EntryPoint(msgspec.Struct):
    """A free entry point as the provider sees it: messages submitted in [since, expires_at) are said to be in it."""

    since: int
    expires_at: int
    stated_expiry: int | None
    conversation_id: str


class Provider:
    """Fills in what is said on the statuses of one thread at a time."""

    def __init__(self, rng: Random, *, conversation_always: bool) -> None:
        """Take the source of chance and the webhook version (v23: a conversation object on every message)."""
        self._random = rng.random
        self._conversation_always = conversation_always

    def speak(self, drafts: list[Draft], incoming: list[Incoming]) -> None:
        """Set ``said`` on the statuses of all ``drafts`` of one thread; both lists are in order of time."""
        entry_points = self._entry_points(drafts, [message for message in incoming if message.referral])
        received = [message.at for message in incoming]
        for draft in drafts:
            position = bisect_right(received, draft.submitted_at)
            in_window = position > 0 and draft.submitted_at - received[position - 1] < DAY_SECONDS
            entry_point = next(
                (e for e in entry_points if e.since <= draft.submitted_at < e.expires_at),
                None,
            )
            self._speak_on(draft, self._said(draft, in_window=in_window, entry_point=entry_point))

    def _entry_points(self, drafts: list[Draft], referrals: list[Incoming]) -> list[EntryPoint]:
        """Find the answers within 24 hours of a click on an ad; a new one opens only after the last has ended."""
        found: list[EntryPoint] = []
        if not referrals:
            return found
        deliveries = sorted(at for draft in drafts if (at := draft.delivered_at) is not None)
        for referral in referrals:
            since = referral.at
            position = bisect_right(deliveries, since - 1)
            if found and since < found[-1].expires_at:
                continue
            if position < len(deliveries) and deliveries[position] < since + DAY_SECONDS:
                found.append(self._entry_point(since, deliveries[position], referral.message_id))
        return found

    def _entry_point(self, since: int, opened_at: int, message_id: str) -> EntryPoint:
        length = _ENTRY_POINT_SECONDS
        luck = self._random()
        if opened_at >= LONG_ENTRY_POINTS_FROM and luck < 0.15:
            length += int(self._random() * 4 * DAY_SECONDS)
        expires_at = opened_at + length
        stated: int | None = expires_at
        if luck > 0.98:
            stated = None
        elif luck > 0.97:
            stated = opened_at + 9 * DAY_SECONDS  # beyond belief, to be ignored
        return EntryPoint(since, expires_at, stated, f"fep{message_id[6:]}")

    def _said(self, draft: Draft, *, in_window: bool, entry_point: EntryPoint | None) -> Words:
        """Choose the words for one message."""
        template = draft.category in TEMPLATE_CATEGORIES
        luck = self._random()
        if template and luck < _SILENT_SHARE:
            return None, None
        if entry_point is not None and luck > _SILENT_SHARE + _FORGOTTEN_SHARE:
            inside = self._inside(draft, entry_point)
            if luck > 1 - _RESTATED_SHARE:
                return self._outside(draft, in_window=in_window), _without_expiry(inside)
            return inside, _without_expiry(inside)
        outside = self._outside(draft, in_window=in_window)
        if template and luck < _SILENT_SHARE + _CATEGORY_ONLY_SHARE:
            outside = msgspec.structs.replace(outside, pricing_type=None, billable=None)
        elif outside.pricing_type == "regular" and luck > 1 - _RESTATED_SHARE:
            free = msgspec.structs.replace(outside, pricing_type="free_customer_service", billable=False)
            return outside, _without_expiry(free)
        return outside, _without_expiry(outside)

    def _inside(self, draft: Draft, entry_point: EntryPoint) -> Said:
        """The message counts to a free entry point."""
        expiry, identifier = entry_point.stated_expiry, entry_point.conversation_id
        if draft.submitted_at < PER_MESSAGE_FROM:
            return Said("referral_conversion", "CBP", None, False, identifier, "referral_conversion", expiry)
        category = "referral_conversion" if self._random() < 0.7 else draft.category
        return Said(category, "PMP", "free_entry_point", False, identifier, "referral_conversion", expiry)

    def _outside(self, draft: Draft, *, in_window: bool) -> Said:
        """The message is charged, or not, by itself."""
        at, category = draft.submitted_at, draft.category
        if at < PER_MESSAGE_FROM:
            billable = category != "service" or (at < SERVICE_FREE_FROM and self._random() < 0.5)
            # Ids say nothing that is metered; one per day and category is close enough to one per window.
            return Said(
                category, "CBP", None, billable, f"c{at // DAY_SECONDS}{category}", category, at + DAY_SECONDS
            )
        pricing_type = self._pricing_type(draft, in_window=in_window)
        flag = None if self._random() < _NO_BILLABLE_FLAG_SHARE else pricing_type == "regular"
        if not self._conversation_always:
            return Said(category, "PMP", pricing_type, flag)
        identifier = f"c{draft.message.message_id[6:]}"
        return Said(category, "PMP", pricing_type, flag, identifier, category, at + DAY_SECONDS)

    def _pricing_type(self, draft: Draft, *, in_window: bool) -> PricingType:
        if draft.category == "service":
            # Nobody documents how the monthly allotment of free service messages shows, so both words occur.
            if draft.submitted_at >= WINDOW_CHARGED_FROM and self._random() < 0.5:
                return "regular"
            return "free_customer_service"
        if draft.category == "utility" and in_window and draft.submitted_at < WINDOW_CHARGED_FROM:
            return "free_customer_service"
        return "regular"

    @staticmethod
    def _speak_on(draft: Draft, said: Words) -> None:
        """Put the words on ``sent`` and on the first of delivered and read, never on both of those."""
        on_sent, on_delivery = said
        spoken = False
        for status in draft.message.statuses:
            if status.name == "sent":
                status.said = on_sent
            elif status.name != "failed" and not spoken:
                status.said, spoken = on_delivery, True


def _without_expiry(said: Said) -> Said:
    """Only ``sent`` says when a conversation ends."""
    return msgspec.structs.replace(said, expires_at=None)
