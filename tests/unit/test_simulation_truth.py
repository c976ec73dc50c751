"""The truth of the simulated world, on worlds small enough to count by hand."""

from __future__ import annotations

import msgspec
import pytest

from simulation.accounts import make_accounts
from simulation.truth import Row, Truth, climb
from simulation.world import Contact, Identity, Incoming, Outgoing, Said, Status, Thread

NOON = 1_793_620_800  # 2026-11-02 12:00:00 UTC, a Monday
SEPTEMBER_NOON = NOON - 33 * 86_400  # 2026-09-30
HOUR = 3_600
DAY = 86_400

(ACCOUNT,) = make_accounts(1)
NUMBER, SECOND_NUMBER = ACCOUNT.numbers
BRAZILIAN = Identity("BR", "5511961234567")

MARKETING = Said("marketing", "PMP", "regular", True)
UTILITY = Said("utility", "PMP", "regular", True)
SERVICE = Said("service", "PMP", "free_customer_service", False)
ENTRY_POINT = Said("referral_conversion", "PMP", "free_entry_point", False, "f", "referral_conversion")


def delivered(at: int, said: Said | None, message_id: str = "") -> Outgoing:
    """Return a message that was sent and delivered in the same second."""
    return Outgoing(message_id or f"m{at}", [Status("sent", at, said), Status("delivered", at, said)])


def thread(*outgoing: Outgoing, incoming: tuple[Incoming, ...] = ()) -> Contact:
    """Return a contact of one thread."""
    return Contact(ACCOUNT, BRAZILIAN, [Thread(NUMBER, list(outgoing), list(incoming))])


def rows(query: str, *people: Contact, zone: str = "UTC") -> list[Row]:
    """Return the true rows of ``query`` without the keys that are the same everywhere."""
    truth = Truth({ACCOUNT.account_id: zone})
    for contact in people:
        truth.add(contact)
    dropped = {"query", "account", "country"}
    return [
        {k: v for k, v in row.items() if k not in dropped} for row in truth.rows() if row["query"] == query
    ]


def conversations(contact: Contact, zone: str = "UTC") -> list[tuple[object, ...]]:
    """Return ``(day, type, free, charged)`` of every row."""
    return [(r["day"], r["type"], r["free"], r["charged"]) for r in rows("conversations", contact, zone=zone)]


def test_usage_counts_every_step_on_its_own_local_day() -> None:
    """A ladder across midnight adds each measure to the day of its own timestamp in the account's zone."""
    # 18:29:59 UTC is 23:59:59 in India: sent on the 2nd, everything after on the 3rd.
    at = NOON + 6 * HOUR + 29 * 60 + 59
    statuses = [Status("sent", at, MARKETING), Status("delivered", at + 1, MARKETING), Status("read", at + 9)]
    found = rows("usage", thread(Outgoing("m", statuses)), zone="Asia/Kolkata")
    key = {"number": NUMBER.number_id, "category": "marketing", "template": True}
    assert found == [
        {"day": "2026-11-02", **key, "total": 1, "sent": 1, "delivered": 0, "read": 0, "not_delivered": 0},
        {"day": "2026-11-03", **key, "total": 0, "sent": 0, "delivered": 1, "read": 1, "not_delivered": 0},
    ]


def test_ladder_implies_what_was_not_said() -> None:
    """A read is a delivery and was sent; a failure counts only as long as nothing was delivered."""
    read = climb(Outgoing("m", [Status("read", 50, SERVICE)]), BRAZILIAN)
    assert (read.sent_at, read.delivered_at, read.read_at, read.template) == (50, 50, 50, False)
    failed = climb(Outgoing("m", [Status("failed", 40, None, 131026)]), BRAZILIAN)
    assert (failed.first_at, failed.sent_at, failed.not_delivered_at, failed.category) == (40, None, 40, "")
    taken_back = climb(
        Outgoing("m", [Status("failed", 40, None, 131026), Status("delivered", 60, UTILITY)]), BRAZILIAN
    )
    assert (taken_back.first_at, taken_back.sent_at, taken_back.not_delivered_at) == (40, 60, None)
    played = climb(Outgoing("m", [Status("delivered", 60, SERVICE), Status("played", 70)]), BRAZILIAN)
    assert played.read_at == 70


def test_ladder_takes_the_earliest_word_and_breaks_ties_by_rule() -> None:
    """The earliest status that carries pricing decides; in one second free wins, and the first category."""
    restated = climb(
        Outgoing("m", [Status("sent", 10, MARKETING), Status("delivered", 11, ENTRY_POINT)]), BRAZILIAN
    )
    assert (restated.billable, restated.category, restated.free_entry_point) == (True, "marketing", True)
    tied = climb(Outgoing("m", [Status("sent", 10, UTILITY), Status("delivered", 10, SERVICE)]), BRAZILIAN)
    assert (tied.billable, tied.category) == (False, "service")
    category_only = Said("utility", "PMP")
    silent = climb(
        Outgoing("m", [Status("sent", 10, category_only), Status("delivered", 11, UTILITY)]), BRAZILIAN
    )
    assert silent.billable is True
    assert (
        climb(Outgoing("m", [Status("sent", 10, Said("utility", "CBP", None, False))]), BRAZILIAN).billable
        is False
    )


def test_conversations_of_a_day_by_hand() -> None:
    """Templates open one conversation per category and 24 hours; free-form opens service only if none is open."""
    day = thread(
        delivered(NOON, MARKETING),  # opens marketing, 2 November, charged
        delivered(NOON + HOUR, Said("marketing_lite", "PMP", "regular", True)),  # belongs to it
        delivered(NOON + 2 * HOUR, SERVICE),  # belongs to it
        delivered(NOON + 3 * HOUR, UTILITY),  # opens utility
        delivered(NOON + DAY, SERVICE),  # marketing ends this second; belongs to utility
        delivered(NOON + DAY + 3 * HOUR, SERVICE),  # utility ends this second: opens service, free
        delivered(NOON + DAY + 4 * HOUR, MARKETING),  # opens marketing of 3 November
    )
    assert conversations(day) == [
        ("2026-11-02", "marketing", 0, 1),
        ("2026-11-02", "utility", 0, 1),
        ("2026-11-03", "marketing", 0, 1),
        ("2026-11-03", "service", 1, 0),
    ]


def test_one_billable_message_charges_the_whole_conversation() -> None:
    """A conversation opened by a free message is charged as soon as a billable one belongs to it."""
    paid = Said("service", "PMP", "regular", True)
    assert conversations(thread(delivered(NOON, SERVICE), delivered(NOON + 5, paid))) == [
        ("2026-11-02", "service", 0, 1)
    ]


def test_messages_of_one_second_go_templates_first() -> None:
    """A free-form reply delivered in the second of a template belongs to it and opens nothing."""
    together = thread(delivered(NOON, SERVICE, "a"), delivered(NOON, MARKETING, "b"))
    assert conversations(together) == [("2026-11-02", "marketing", 0, 1)]


def test_referral_opens_a_free_entry_point_and_closes_the_rest() -> None:
    """The answer to an ad opens 72 free hours: nothing opens inside, and what was open before is over."""
    referral = Incoming("r", NOON, referral=True)
    story = thread(
        delivered(NOON - HOUR, MARKETING),  # opens marketing
        delivered(NOON + 60, SERVICE),  # opens the free entry point until NOON + 60 + 72 h
        delivered(NOON + 120, UTILITY),  # inside
        delivered(NOON + 60 + 72 * HOUR - 1, MARKETING),  # the last second inside
        delivered(NOON + 60 + 72 * HOUR, SERVICE),  # outside: opens service
        incoming=(referral,),
    )
    assert conversations(story) == [
        ("2026-11-02", "free_entry_point", 1, 0),
        ("2026-11-02", "marketing", 0, 1),
        ("2026-11-05", "service", 1, 0),
    ]


@pytest.mark.parametrize(("wait", "types"), [(DAY - 1, ["free_entry_point"]), (DAY, ["service"])])
def test_referral_is_good_for_less_than_a_day(wait: int, types: list[str]) -> None:
    """An answer delivered exactly 24 hours after the click opens no free entry point."""
    story = thread(delivered(NOON + wait, SERVICE), incoming=(Incoming("r", NOON, referral=True),))
    assert [row[1] for row in conversations(story)] == types


@pytest.mark.parametrize(
    ("stated", "length"),
    [(24 * HOUR, 24 * HOUR), (8 * DAY, 8 * DAY), (8 * DAY + 1, 72 * HOUR), (0, 72 * HOUR)],
)
def test_stated_expiry_counts_within_eight_days(stated: int, length: int) -> None:
    """A free entry point ends when the provider says so, unless that is not after it or beyond 8 days."""
    said = msgspec.structs.replace(ENTRY_POINT, expires_at=NOON + stated)
    for offset, opened in ((length - 1, 0), (length, 1)):
        story = thread(delivered(NOON, said), delivered(NOON + offset, MARKETING))
        assert [row[1] for row in conversations(story)] == ["free_entry_point", "marketing"][: 1 + opened]


def test_straggler_belongs_to_the_free_entry_point_that_ended() -> None:
    """A message that says free entry point opens a new one only from 24 hours after the end of the last."""
    end = NOON + 72 * HOUR
    near = thread(delivered(NOON, ENTRY_POINT), delivered(end + DAY - 1, ENTRY_POINT))
    assert conversations(near) == [("2026-11-02", "free_entry_point", 1, 0)]
    far = thread(delivered(NOON, ENTRY_POINT), delivered(end + DAY, ENTRY_POINT))
    assert conversations(far) == [
        ("2026-11-02", "free_entry_point", 1, 0),
        ("2026-11-06", "free_entry_point", 1, 0),
    ]


def test_silent_utility_template_follows_the_regime_of_its_local_day() -> None:
    """Without any word on pricing a utility template in an open window is free until 30 September 2026, local."""
    said = Said("utility", "PMP")
    # 20:00 UTC on 30 September is already 1 October in Kolkata.
    at = SEPTEMBER_NOON + 8 * HOUR
    inside = thread(delivered(at, said), incoming=(Incoming("i", at - DAY + 1),))
    outside = thread(delivered(at, said), incoming=(Incoming("i", at - DAY),))
    assert conversations(inside) == [("2026-09-30", "utility", 1, 0)]
    assert conversations(outside) == [("2026-09-30", "utility", 0, 1)]
    assert conversations(inside, zone="Asia/Kolkata") == [("2026-10-01", "utility", 0, 1)]


def test_active_users_by_number_and_for_the_whole_account() -> None:
    """``both`` holds for the account when one number received and another delivered; months are local."""
    month_end = NOON - 2 * DAY + 11 * HOUR + 1_800  # 31 October 23:30 UTC
    person = Contact(
        ACCOUNT,
        BRAZILIAN,
        [
            Thread(NUMBER, [], [Incoming("i", month_end)]),
            Thread(SECOND_NUMBER, [delivered(NOON, UTILITY)], []),
        ],
    )
    other = Contact(ACCOUNT, Identity("IN", "918123456789"), [Thread(NUMBER, [], [Incoming("j", NOON)])])

    def found(zone: str) -> list[tuple[object, ...]]:
        table = rows("active-users", person, other, zone=zone)
        return [(row["month"], row["number"], row["mau"], row["mau_both"]) for row in table]

    first, second = NUMBER.number_id, SECOND_NUMBER.number_id
    assert found("UTC") == [
        ("2026-10", "", 1, 0),
        ("2026-10", first, 1, 0),
        ("2026-11", "", 2, 0),
        ("2026-11", first, 1, 0),
        ("2026-11", second, 1, 0),
    ]
    assert found("Europe/Berlin") == [
        ("2026-11", "", 2, 1),
        ("2026-11", first, 2, 0),
        ("2026-11", second, 1, 0),
    ]


def shown(message: Outgoing, *looks: Identity) -> Outgoing:
    """Let each status of the message name its user in another way."""
    for status, who in zip(message.statuses, looks, strict=True):
        status.shown = who
    return message


OLD_PHONE = Identity("BR", "5511961234567", "BR.1")
ID_ALONE = Identity("BR", None, "BR.1")
NEW_PHONE = Identity("PT", "351912345678", "PT.2")


def mau(*people: Contact) -> list[tuple[object, ...]]:
    """Return ``(number, mau, mau_both, mau_phones)`` of every row of November."""
    table = rows("active-users", *people)
    return [(row["number"], row["mau"], row["mau_both"], row["mau_phones"]) for row in table]


def test_person_of_many_names_is_one_user_with_as_many_phones_as_shown() -> None:
    """Whoever changes the phone counts once in ``mau``, and each phone that the items of the month show once."""
    first = shown(delivered(NOON, UTILITY), OLD_PHONE, OLD_PHONE)
    second = shown(delivered(NOON + HOUR, UTILITY), ID_ALONE, ID_ALONE)
    third = Incoming("i", NOON + DAY, shown=NEW_PHONE)
    changed = Contact(
        ACCOUNT, OLD_PHONE, [Thread(NUMBER, [first], []), Thread(SECOND_NUMBER, [second], [third])]
    )
    assert mau(changed) == [
        ("", 1, 1, 2),
        (NUMBER.number_id, 1, 0, 1),
        (SECOND_NUMBER.number_id, 1, 1, 1),
    ]


def test_person_without_a_phone_counts_as_one_phone() -> None:
    """Of two people without a shown phone both count, beside the phone of a third."""
    people = [
        Contact(ACCOUNT, who, [Thread(NUMBER, [delivered(NOON, UTILITY)], [])])
        for who in (ID_ALONE, Identity("IN", None, "IN.3"), NEW_PHONE)
    ]
    assert mau(*people)[0] == ("", 3, 0, 3)


def test_recycled_phone_counts_once_and_both_its_people() -> None:
    """Two people who had one phone within a month are two users with one phone; in another month it counts again."""
    heir = Identity("BR", OLD_PHONE.phone, "BR.9")
    former = Contact(ACCOUNT, OLD_PHONE, [Thread(NUMBER, [], [Incoming("i", NOON)])])
    later = Contact(
        ACCOUNT, heir, [Thread(NUMBER, [], [Incoming("j", NOON + 9 * DAY), Incoming("k", NOON + 30 * DAY)])]
    )
    table = rows("active-users", former, later)
    assert [(r["month"], r["mau"], r["mau_phones"]) for r in table if r["number"] == ""] == [
        ("2026-11", 2, 1),
        ("2026-12", 1, 1),
    ]


def test_country_and_phone_are_those_of_the_earliest_event_with_a_phone() -> None:
    """A message whose phone is shown late is of that phone's country, and only a delivered one shows a phone."""
    moved = shown(delivered(NOON, UTILITY), ID_ALONE, NEW_PHONE)
    ladder = climb(moved, BRAZILIAN)
    assert (ladder.country, ladder.phone) == ("PT", "351912345678")
    hidden = climb(shown(delivered(NOON, UTILITY), ID_ALONE, ID_ALONE), BRAZILIAN)
    assert (hidden.country, hidden.phone) == ("BR", None)
    usual = climb(delivered(NOON, UTILITY), BRAZILIAN)
    assert (usual.country, usual.phone) == ("BR", BRAZILIAN.phone)
    failed = shown(Outgoing("f", [Status("failed", NOON, None, 131026)]), OLD_PHONE)
    received = Incoming("i", NOON, shown=ID_ALONE)
    assert mau(Contact(ACCOUNT, ID_ALONE, [Thread(NUMBER, [failed], [received])]))[0] == ("", 1, 0, 1)
    truth = Truth({})
    truth.add(Contact(ACCOUNT, ID_ALONE, [Thread(NUMBER, [moved, failed], [received])]))
    countries = {(row["query"], row["country"]) for row in truth.rows() if "country" in row}
    assert countries == {("usage", "PT"), ("usage", "BR"), ("conversations", "PT"), ("incoming", "BR")}


def test_conversation_goes_on_when_the_person_has_another_name() -> None:
    """A second template within 24 hours opens nothing, whatever the person is called by then."""
    first = shown(delivered(NOON, MARKETING), OLD_PHONE, OLD_PHONE)
    second = shown(delivered(NOON + HOUR, MARKETING), NEW_PHONE, NEW_PHONE)
    assert conversations(thread(first, second)) == [("2026-11-02", "marketing", 0, 1)]
