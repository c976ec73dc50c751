"""Before a partition forgets, it asks all: nobody may still have events for it that come from before.

Users whose names are linked have their events passed on from partition to partition, and one partition may be days of
the account's time behind another, in a backlog or a backfill. So a cut (metering.md §6) moves only when every
partition has read what lay in its log at the time of the question. What it passed on because of that lies before
its answer. As an event can be passed on more than once, there are several rounds of questions.

Owns questions and answers. Does not own what is forgotten (``streams.sweep``).
"""

from __future__ import annotations

from schemas.parcels import Ask, Parcel, Told
from streams.accounts import AccountRecord

ROUNDS = 4
"""How often an event can be passed on and still come in time. Rarely more than once: references are shortened."""


def ask(
    account: str, record: AccountRecord, instant: int, partition: int, partition_count: int
) -> dict[int, Parcel]:
    """Begin to ask whether an account's state before an instant may be forgotten; return what to tell whom."""
    record.asked, record.asked_round, record.told = instant, 0, 0
    return _questions(account, record, partition, partition_count)


def answer(question: Ask, partition: int) -> dict[int, Parcel]:
    """Answer a question, now that it has been read."""
    told = Told(question.account, partition, question.instant, question.round)
    return {question.asker: told}


def hear(record: AccountRecord, told: Told, partition: int, partition_count: int) -> dict[int, Parcel]:
    """Take an answer; return the questions of the next round when it was the last one of its round."""
    if (told.instant, told.round) != (record.asked, record.asked_round):
        return {}
    record.told |= 1 << told.teller
    if record.told + 1 != 1 << partition_count:
        return {}
    record.asked_round, record.told = record.asked_round + 1, 0
    if record.asked_round < ROUNDS:
        return _questions(told.account, record, partition, partition_count)
    record.agreed, record.asked = record.asked, 0
    return {}


def _questions(
    account: str, record: AccountRecord, partition: int, partition_count: int
) -> dict[int, Parcel]:
    question = Ask(account, partition, record.asked, record.asked_round)
    return dict.fromkeys(range(partition_count), question)
