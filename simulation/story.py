"""What users and businesses do: campaigns, chats, clicks on ads, and what becomes of each message.

Owns behaviour and delays, all drawn from one random generator. Does not own prices: drafts leave with statuses that
say nothing yet (``simulation.provider`` fills them in, knowing the whole thread).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from random import Random

import msgspec

from schemas.events import Category
from simulation.world import DAY_SECONDS, HOUR_SECONDS, Incoming, Outgoing, Status

OUTGOING_PER_EPISODE = 1.56
"""Outgoing messages that an episode has on average (measured)."""

_CAMPAIGN_SHARE = 0.60
_CHAT_SHARE = 0.30  # the rest comes from ads

_DIRECT_FAILURE_SHARE = 0.012
_LATER_FAILURE_SHARE = 0.020
_TAKEN_BACK_SHARE = 0.15
_PENDING_SHARE = 0.04
_READ_SHARE = 0.60
_READ_IN_CHAT_SHARE = 0.08
_SENT_LOST_SHARE = 0.02
_TWIN_SHARE = 0.04

_DELIVERY_DELAY_SECONDS_MAX = 4 * DAY_SECONDS
_READ_DELAY_SECONDS_MAX = 6 * DAY_SECONDS

_TEMPLATES: tuple[Category, ...] = (
    *("marketing",) * 9,
    *("marketing_lite",) * 2,
    *("utility",) * 6,
    *("authentication",) * 4,
    "authentication_international",
)
_ERROR_CODES = (131049, 131049, 131026, 131026, 131047, 130472, 131053, 131000)
_INCOMING_TYPES = (
    *("text",) * 8, "image", "image", "audio", "video", "document", "sticker", "location", "contacts",
    "interactive_button", "interactive_list", "button", "button", "order", "reaction", "reaction", "unsupported",
)  # fmt: skip


class Draft(msgspec.Struct):
    """An outgoing message as the business meant it, before the provider says anything about its price."""

    category: Category
    submitted_at: int
    message: Outgoing

    @property
    def delivered_at(self) -> int | None:
        """Return when the user first had the message, if ever."""
        return min((s.at for s in self.message.statuses if s.name not in ("sent", "failed")), default=None)


class Episode(msgspec.Struct):
    """Messages that belong together in the story; several episodes make a thread."""

    drafts: list[Draft] = msgspec.field(default_factory=list)
    incoming: list[Incoming] = msgspec.field(default_factory=list)


class Storyteller:
    """Makes up episodes."""

    def __init__(self, rng: Random, next_message_id: Callable[[], str]) -> None:
        """Take the source of chance and of message ids that never repeat."""
        self._random = rng.random
        self._next_message_id = next_message_id

    def episode(self, at: int) -> Episode:
        """Return one episode that begins at ``at`` (UTC seconds)."""
        kind = self._random()
        if kind < _CAMPAIGN_SHARE:
            return self._campaign(at)
        if kind < _CAMPAIGN_SHARE + _CHAT_SHARE:
            return self._chat(at)
        return self._advertisement(at)

    def setback(self, at: int, *, is_sent: bool) -> Episode:
        """Return an episode of a message that fails, after it was sent or at once, and a second try that arrives."""
        failing = [Status("sent", at)] if is_sent else []
        code = _ERROR_CODES[int(self._random() * len(_ERROR_CODES))]
        failing.append(Status("failed", at + self._between(1, 600), None, code))
        again = failing[-1].at + self._between(5, 60)
        arriving = [Status("sent", again), Status("delivered", again + int(self._random() * 15))]
        category = self._template()
        return Episode(
            [
                Draft(category, at, Outgoing(self._next_message_id(), failing)),
                Draft(category, again, Outgoing(self._next_message_id(), arriving)),
            ]
        )

    def _campaign(self, at: int) -> Episode:
        """The business writes first; some users read and answer."""
        episode = Episode()
        draft = self._send(episode, self._template(), at)
        read_at = draft.message.statuses[-1].at
        if draft.message.statuses[-1].name == "read" and self._random() < 0.25:
            asked_at = read_at + self._between(3, 900)
            self._receive(episode, asked_at)
            if self._random() < 0.8:
                self._answer(episode, asked_at)
        return episode

    def _chat(self, at: int) -> Episode:
        """The user writes first; the business answers, sometimes with a template on top."""
        episode = Episode()
        for _ in range(1 + int(self._random() * 3)):
            self._receive(episode, at)
            at += self._between(2, 180)
        at = self._answer(episode, at)
        if self._random() < 0.25:
            self._send(episode, "utility", at + self._between(60, 30 * HOUR_SECONDS))
        return episode

    def _advertisement(self, at: int) -> Episode:
        """The user comes from an ad; answered at once, too late, or never."""
        episode = Episode()
        self._receive(episode, at, referral=True)
        luck = self._random()
        if luck < 0.05:
            return episode
        delay = (
            self._between(20 * HOUR_SECONDS, 30 * HOUR_SECONDS)
            if luck < 0.15
            else self._between(2, HOUR_SECONDS)
        )
        self._send(episode, "service" if self._random() < 0.8 else self._template(), at + delay)
        for _ in range(int(self._random() * 5)):
            later = at + delay + self._between(10, 5 * DAY_SECONDS)
            if self._random() < 0.4:
                self._receive(episode, later, referral=self._random() < 0.1)
                later += self._between(5, HOUR_SECONDS)
            self._send(episode, "service" if self._random() < 0.5 else self._template(), later)
        return episode

    def _answer(self, episode: Episode, at: int) -> int:
        """Add one or two free-form replies; return the time of the last."""
        for _ in range(1 + int(self._random() * 2)):
            at += self._between(4, 1_800)
            self._send(episode, "service", at)
        return at

    def _receive(self, episode: Episode, at: int, *, referral: bool = False) -> None:
        type_name = "text" if referral else _INCOMING_TYPES[int(self._random() * len(_INCOMING_TYPES))]
        episode.incoming.append(Incoming(self._next_message_id(), at, type_name, referral))

    def _send(self, episode: Episode, category: Category, at: int) -> Draft:
        statuses = self._ladder(at)
        draft = Draft(category, at, Outgoing(self._next_message_id(), statuses))
        episode.drafts.append(draft)
        if self._random() < _TWIN_SHARE:
            # A second message with every time the same: what opens a conversation is then decided by ties.
            copies = [Status(status.name, status.at, None, status.error_code) for status in statuses]
            other: Category = self._template() if self._random() < 0.7 else "service"
            episode.drafts.append(Draft(other, at, Outgoing(self._next_message_id(), copies)))
        return draft

    def _template(self) -> Category:
        return _TEMPLATES[int(self._random() * len(_TEMPLATES))]

    def _between(self, low: int, high: int) -> int:
        """Return whole seconds from ``low`` to ``high``, short ones as likely as long ones in proportion."""
        return int(exp(log(low) + self._random() * (log(high) - log(low))))

    def _ladder(self, at: int) -> list[Status]:
        """Return the statuses of a message submitted at ``at``, in order of time."""
        fate = self._random()
        if fate < _DIRECT_FAILURE_SHARE:
            return self._failure([], at)
        sent = [Status("sent", at + int(self._random() * 3))]
        fate -= _DIRECT_FAILURE_SHARE
        if fate < _LATER_FAILURE_SHARE:
            return self._failure(sent, sent[0].at)
        if fate < _LATER_FAILURE_SHARE + _PENDING_SHARE:
            return sent
        statuses = self._delivery(sent[0].at, self._delivery_delay())
        # Webhooks get lost for good; the rest of the ladder still says that the message was sent.
        return statuses if self._random() < _SENT_LOST_SHARE else sent + statuses

    def _failure(self, before: list[Status], at: int) -> list[Status]:
        failed_at = at + self._between(1, 600)
        code = _ERROR_CODES[int(self._random() * len(_ERROR_CODES))]
        statuses = [*before, Status("failed", failed_at, None, code)]
        if self._random() < _TAKEN_BACK_SHARE:
            statuses += self._delivery(failed_at, self._between(10, 2 * DAY_SECONDS))
        return statuses

    def _delivery_delay(self) -> int:
        speed = self._random()
        if speed < 0.85:
            return int(self._random() * 15)
        if speed < 0.97:
            return self._between(15, 6 * HOUR_SECONDS)
        return self._between(6 * HOUR_SECONDS, _DELIVERY_DELAY_SECONDS_MAX)

    def _delivery(self, at: int, delay: int) -> list[Status]:
        delivered_at = at + delay
        if self._random() >= _READ_SHARE:
            return [Status("delivered", delivered_at)]
        if self._random() < _READ_IN_CHAT_SHARE:
            return [Status("read", delivered_at)]
        delivered = Status("delivered", delivered_at)
        read_at = delivered_at + self._between(1, _READ_DELAY_SECONDS_MAX)
        voice = self._random()
        if voice < 0.005:
            return [delivered, Status("played", read_at)]
        if voice < 0.015:
            return [delivered, Status("read", read_at), Status("played", read_at + self._between(1, 600))]
        return [delivered, Status("read", read_at)]
