"""A whole simulated world as webhook bodies, in the order in which they arrive, with its truth.

Owns the population (who talks to which business, how often) and the wiring of story, provider, names, noise and
arrival. Does not own time: the caller says when the world begins, and has made sure that it lies in the past.

The truth counts the people as they really are, metering knows them by their webhooks alone, so that only such
traffic is made from which both must come to the same: a phone that stands alone is at some time seen together with
its user id, every replaced user id is named by a webhook, and after a phone has passed on nothing names it alone
before a webhook has shown the new owner with it (``simulation.casting``, ``simulation.guises``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import log
from random import Random

from simulation.accounts import make_accounts
from simulation.arrivals import LONE, MESSAGES, STATUSES, WHOLE_CHANGE, Arrivals, Packer, Routes
from simulation.casting import Casting
from simulation.guises import Guise
from simulation.noise import Noise
from simulation.people import Person, PhoneBook
from simulation.provider import Provider
from simulation.render import Voice, incoming_json, renamed_json, status_json, user_id_change
from simulation.story import OUTGOING_PER_EPISODE, Draft, Episode, Storyteller
from simulation.truth import Truth
from simulation.world import (
    DAY_SECONDS,
    Account,
    BusinessNumber,
    Contact,
    Identity,
    Incoming,
    Rename,
    Status,
    Thread,
)

EARLIEST_START = 1_685_577_600
"""2023-06-01: the first day for which the product has a price regime."""

USERNAMES_FROM = 1_775_001_600
"""2026-04-01, when the first BSUIDs appeared."""

_SECOND_ACCOUNT_SHARE = 0.08
_SECOND_NUMBER_SHARE = 0.30


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """What the world is made of; equal options make equal worlds, byte by byte."""

    seed: int = 1
    users: int = 1_000
    days: int = 7
    accounts: int = 3
    start: int = 1_793_577_600
    """UTC midnight of the first day, in seconds; the default is 2026-11-02."""
    messages_per_user_day: float = 0.6
    """Outgoing messages, on average."""
    bad_share: float = 0.0
    """Updates that must be refused, per good update."""

    @property
    def end(self) -> int:
        """Return the end of the world in UTC seconds: everything happens before it."""
        return self.start + self.days * DAY_SECONDS


@dataclass(slots=True)
class Census:
    """What a world contains, counted while it is made."""

    users: int = 0
    messages: int = 0
    updates: int = 0
    """Updates that happened, each once; without repeats and noise."""


class World:
    """One world: first ``settle`` it, then let its ``bodies`` arrive."""

    def __init__(self, options: WorldOptions, truth: Truth | None = None) -> None:
        """Prepare an empty world; what happens in it is also added to ``truth``."""
        self.census = Census()
        self._options = options
        self._truth = truth
        self._accounts = make_accounts(options.accounts)
        self._routes = Routes(self._accounts)
        # One source of chance per concern, so that more noise does not tell another story.
        self._network_rng = Random(f"network {options.seed}")
        self._noise_rng = Random(f"noise {options.seed}")
        self.arrivals = Arrivals(self._network_rng)
        noise_ids = (f"wamid.x{options.seed}d{options.start // DAY_SECONDS}n{number}" for number in count())
        self._noise = Noise(self._noise_rng, self.arrivals, self._routes, lambda: next(noise_ids))

    def settle(self) -> None:
        """Let everything happen: fills the arrivals and the truth."""
        options = self._options
        self._noise.accounts(self._accounts, options.start, options.days)
        for contact in contacts(options, self._accounts):
            if self._truth is not None:
                self._truth.add(contact)
            self._send(contact, voices(with_status_contact=options.start >= USERNAMES_FROM))

    def bodies(self) -> Iterator[tuple[int, bytes]]:
        """Yield ``(updates in it, webhook body)`` in order of arrival."""
        return Packer(self._routes, self._network_rng).pack(self.arrivals.drain())

    def _send(self, contact: Contact, voice_of: Callable[[Identity], Voice]) -> None:
        self.census.users += 1
        bad_share, chance = self._options.bad_share, self._noise_rng.random
        lone = LONE if contact.is_varied else 0
        usual = contact.identity
        for thread in contact.threads:
            base = self._routes.base(thread.number) + lone
            updates = [
                (status.at, base + STATUSES, "" if status.name == "failed" else voice.status_contact,
                 status_json(voice, outgoing.message_id, status))
                for outgoing in thread.outgoing
                for status in outgoing.statuses
                for voice in (voice_of(status.shown or usual),)
            ]  # fmt: skip
            updates += [
                (message.at, base + MESSAGES, voice.contact, incoming_json(voice, message))
                for message in thread.incoming
                for voice in (voice_of(message.shown or usual),)
            ]
            self.census.messages += len(thread.outgoing) + len(thread.incoming)
            self.census.updates += len(updates)
            for update in updates:
                self.arrivals.add(*update)
                if bad_share and chance() < bad_share:
                    self._noise.bad(update[0], thread.number, voice_of(usual))
        self._send_renames(contact, voice_of)
        self._noise.contact(contact, voice_of)

    def _send_renames(self, contact: Contact, voice_of: Callable[[Identity], Voice]) -> None:
        """Send the renames, from one of the numbers that the person knows."""
        for position, rename in enumerate(contact.renames):
            number = contact.threads[position % len(contact.threads)].number
            update = rename_update(self._routes, number, rename, voice_of(rename.before))
            self.arrivals.add(*update, is_late=rename.is_late)
        self.census.updates += len(contact.renames)


def rename_update(
    routes: Routes, number: BusinessNumber, rename: Rename, before: Voice
) -> tuple[int, int, str, str]:
    """Return the update that says a rename: time, route, entry of ``contacts[]``, entry of the list."""
    base = routes.base(number)
    if rename.is_message:
        message_id = f"wamid.r{rename.current}"
        return rename.at, base + MESSAGES + LONE, before.contact, renamed_json(before, message_id, rename)
    return rename.at, base + WHOLE_CHANGE, "", user_id_change(number, rename)


def voices(*, with_status_contact: bool) -> Callable[[Identity], Voice]:
    """Return a function that writes each voice once; meant for the identities of one contact."""
    found: dict[Identity, Voice] = {}

    def voice_of(identity: Identity) -> Voice:
        if identity not in found:
            found[identity] = Voice(identity, with_status_contact=with_status_contact)
        return found[identity]

    return voice_of


def contacts(options: WorldOptions, accounts: tuple[Account, ...]) -> Iterator[Contact]:
    """Yield every contact of the world that has any traffic, complete."""
    rng, names_rng = Random(f"story {options.seed}"), Random(f"names {options.seed}")
    message_ids = (f"wamid.s{options.seed}d{options.start // DAY_SECONDS}n{number}" for number in count())
    storyteller = Storyteller(rng, lambda: next(message_ids))
    casting = Casting(names_rng, PhoneBook(names_rng), options.start, options.end)
    providers = {
        account.account_id: Provider(rng, conversation_always=account.conversation_always)
        for account in accounts
    }
    lines: list[tuple[Account, BusinessNumber]] = []
    for person in casting.people(options.users, usernames=options.start >= USERNAMES_FROM):
        if not person.is_heir:  # who gets a phone is met where its former owner was known
            lines = _lines(rng, accounts)
        episodes = _episodes(rng, options.messages_per_user_day, person, storyteller, len(lines))
        threads: dict[str, list[Thread]] = {}
        for (account, number), line_episodes in zip(lines, episodes, strict=True):
            thread = make_thread(number, line_episodes, providers[account.account_id], person.ends_at)
            if thread.outgoing or thread.incoming:
                threads.setdefault(account.account_id, []).append(thread)
        for account in accounts:
            if account.account_id in threads:
                guise = Guise(names_rng, person, account)
                yield guise.contact(threads[account.account_id], options.end)


def _lines(rng: Random, accounts: tuple[Account, ...]) -> list[tuple[Account, BusinessNumber]]:
    """Return the business numbers that a person talks to: mostly one, the favourite first."""
    chosen = [accounts[int(rng.random() * len(accounts))]]
    if rng.random() < _SECOND_ACCOUNT_SHARE:
        other = accounts[int(rng.random() * len(accounts))]
        if other is not chosen[0]:
            chosen.append(other)
    lines: list[tuple[Account, BusinessNumber]] = []
    for account in chosen:
        first = int(rng.random() * len(account.numbers))
        lines.append((account, account.numbers[first]))
        if len(account.numbers) > 1 and rng.random() < _SECOND_NUMBER_SHARE:
            lines.append((account, account.numbers[(first + 1) % len(account.numbers)]))
    return lines


def _episodes(
    rng: Random, messages_per_day: float, person: Person, storyteller: Storyteller, line_count: int
) -> list[list[Episode]]:
    """Return the episodes of one person on each of its lines, at random times."""
    episodes: list[list[Episode]] = [[] for _ in range(line_count)]
    if messages_per_day == 0:
        return episodes
    if person.setback_at is not None:
        is_sent = person.manner == "addressed"
        episodes[0].append(storyteller.setback(person.setback_at, is_sent=is_sent))
    mean_gap_seconds = DAY_SECONDS * OUTGOING_PER_EPISODE / messages_per_day
    at = float(person.begins_at)
    while (at := at - log(1 - rng.random()) * mean_gap_seconds) < person.ends_at:
        # The square favours the first line.
        episodes[int(rng.random() ** 2 * line_count)].append(storyteller.episode(int(at)))
    return episodes


def make_thread(number: BusinessNumber, episodes: list[Episode], provider: Provider, end: int) -> Thread:
    """Join episodes into one thread, let the provider speak, and cut off what happens at or after ``end``."""
    incoming = sorted(_incoming(episodes), key=lambda message: message.at)
    drafts = sorted(_drafts(episodes), key=lambda draft: draft.submitted_at)
    provider.speak(drafts, incoming)
    outgoing = []
    for draft in drafts:
        draft.message.statuses = _before(end, draft.message.statuses)
        if draft.message.statuses:
            outgoing.append(draft.message)
    return Thread(number, outgoing, [message for message in incoming if message.at < end])


def _incoming(episodes: list[Episode]) -> Iterator[Incoming]:
    return (message for episode in episodes for message in episode.incoming)


def _drafts(episodes: list[Episode]) -> Iterator[Draft]:
    return (draft for episode in episodes for draft in episode.drafts)


def _before(end: int, statuses: list[Status]) -> list[Status]:
    return [status for status in statuses if status.at < end]
