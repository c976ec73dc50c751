"""What arrives beside the traffic that counts: known things nobody meters, and updates that must be refused.

Nothing made here may change the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from simulation.arrivals import LONE, MESSAGES, STATUSES, WHOLE_CHANGE, Arrivals, Routes
from simulation.render import Voice, account_change, incoming_json, messages_change, preferences_change
from simulation.world import DAY_SECONDS, Account, BusinessNumber, Contact, Identity, Incoming

_DELETED_SHARE = 0.004
_SYSTEM_SHARE = 0.01
_PREFERENCES_SHARE = 0.02

_FUTURE = 4_102_444_800  # 2100-01-01
_METADATA = '"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550000000"}'

_BAD_STATUSES = (
    '{{"status":"sent","timestamp":"{at}",{who}}}',
    '{{"id":"{id}","status":"delivered",{who}}}',
    '{{"id":"{id}","status":"read","timestamp":"yesterday",{who}}}',
    '{{"id":"{id}","status":"delivered","timestamp":"{at}"}}',
    '{{"id":"{id}","status":"teleported","timestamp":"{at}",{who}}}',
    '{{"id":"{id}","status":"sent","timestamp":"{future}",{who}}}',
)
_BAD_MESSAGES = (
    '{{{sender},"timestamp":"{at}","type":"text","text":{{"body":"x"}}}}',
    '{{{sender},"id":"{id}","type":"text","text":{{"body":"x"}}}}',
    '{{"id":"{id}","timestamp":"{at}","type":"text","text":{{"body":"x"}}}}',
)


class Noise:
    """Adds noise to the arrivals of one world."""

    def __init__(
        self, rng: Random, arrivals: Arrivals, routes: Routes, next_message_id: Callable[[], str]
    ) -> None:
        """Take the source of chance, which must not be the story's, and where updates go."""
        self._random = rng.random
        self._arrivals = arrivals
        self._routes = routes
        self._next_message_id = next_message_id

    def accounts(self, accounts: tuple[Account, ...], start: int, days: int) -> None:
        """Add one ``account_update`` per account and day."""
        for account in accounts:
            route = self._routes.base(account.numbers[0]) + WHOLE_CHANGE
            for day in range(days):
                at = start + day * DAY_SECONDS + int(self._random() * DAY_SECONDS)
                month = datetime.fromtimestamp(at, UTC).strftime("%Y-%m")
                self._arrivals.add(at, route, "", account_change(at, month))

    def contact(self, contact: Contact, voice_of: Callable[[Identity], Voice]) -> None:
        """Add what is not metered around one contact, at times when something of it happened."""
        for thread in contact.threads:
            base = self._routes.base(thread.number)
            lone = LONE if contact.is_varied else 0
            for outgoing in thread.outgoing:
                if self._random() < _DELETED_SHARE:
                    last = outgoing.statuses[-1]
                    at, voice = last.at, voice_of(last.shown or contact.identity)
                    item = f'{{"id":"{outgoing.message_id}","status":"deleted","timestamp":"{at}",{voice.recipient}}}'
                    self._arrivals.add(at, base + STATUSES + lone, voice.status_contact, item)
            if not thread.incoming:
                continue
            at = thread.incoming[-1].at
            who = thread.incoming[-1].shown or contact.identity
            voice = voice_of(who)
            if self._random() < _SYSTEM_SHARE:
                system = incoming_json(voice, Incoming(self._next_message_id(), at, "system"))
                self._arrivals.add(at, base + MESSAGES + lone, voice.contact, system)
            if who.phone is not None and self._random() < _PREFERENCES_SHARE:
                change = preferences_change(thread.number, voice, who.phone, at)
                self._arrivals.add(at, base + WHOLE_CHANGE, "", change)

    def bad(self, at: int, number: BusinessNumber, voice: Voice) -> None:
        """Add one update that has to be refused, as a change of its own so that nothing around it can mend it."""
        luck = int(self._random() * (len(_BAD_STATUSES) + len(_BAD_MESSAGES) + 1))
        fields = {
            "id": self._next_message_id(), "at": at, "future": _FUTURE,
            "who": voice.recipient, "sender": voice.sender,
        }  # fmt: skip
        if luck < len(_BAD_STATUSES):
            change = messages_change(number, "statuses", (), [_BAD_STATUSES[luck].format(**fields)])
        elif luck < len(_BAD_STATUSES) + len(_BAD_MESSAGES):
            item = _BAD_MESSAGES[luck - len(_BAD_STATUSES)].format(**fields)
            change = messages_change(number, "messages", (), [item])
        else:
            item = f'{{"id":"{fields["id"]}","status":"sent","timestamp":"{at}",{voice.recipient}}}'
            change = f'{{"field":"messages","value":{{{_METADATA},"statuses":[{item}]}}}}'
        self._arrivals.add(at, self._routes.base(number) + WHOLE_CHANGE, "", change)
