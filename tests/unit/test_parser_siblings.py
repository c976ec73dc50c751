"""Damage stays where it is: whatever becomes of one update, its siblings give the events that they give without it.

Tens of thousands of bodies of several changes, or of several updates, one of them damaged as in
``test_parser_mutations``; each sibling is compared, not counted.
"""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

from schemas import meta
from schemas.events import Parsed
from schemas.refusing import UnparseableBody
from tests.unit.test_parser_mutations import LITERALS, META_SEEDS, RECEIVED_AT_MS, change_somewhere

BODIES = 15_000
CHANGES = [
    (entry["id"], orjson.dumps(change))
    for seed in META_SEEDS
    for entry in orjson.loads(seed)["entry"]
    if isinstance(entry, dict) and "id" in entry and isinstance(entry.get("changes"), list)
    for change in entry["changes"]
]
STATUSES = [
    orjson.dumps(status)
    for change in (orjson.loads(encoded) for _, encoded in CHANGES)
    if isinstance(change, dict) and isinstance(change.get("value"), dict)
    for status in change["value"].get("statuses") or ()
]
METADATA = {"display_phone_number": "15550001111", "phone_number_id": "700800900100200"}


def parsed(entries: list[dict[str, Any]]) -> Parsed:
    """Parse a body of entries, with what no encoder writes put in."""
    content = orjson.dumps({"object": "whatsapp_business_account", "entry": entries})
    for mark, literal in LITERALS.items():
        content = content.replace(mark, literal)
    return meta.parse(content, RECEIVED_AT_MS)


def of_statuses(statuses: list[Any]) -> Parsed:
    """Parse statuses that share a change and no contact."""
    value = {"messaging_product": "whatsapp", "metadata": METADATA, "statuses": statuses}
    return parsed([{"id": "900100200300400", "changes": [{"field": "messages", "value": value}]}])


def damaged(dice: Random, encoded: bytes) -> Any:
    """Return one to three changes' damage to a value."""
    document = {"root": orjson.loads(encoded)}
    for _ in range(dice.randint(1, 3)):
        change_somewhere(dice, document["root"])
    return document["root"]


def added(parts: list[Parsed]) -> tuple[list[object], list[str], list[str]]:
    """Return what bodies parsed one by one come to: events, reasons of refusals, ignored names, in order."""
    return (
        [event for part in parts for event in part.events],
        [refusal.reason for part in parts for refusal in part.refusals],
        [name for part in parts for name in part.ignored],
    )


def test_a_damaged_change_leaves_the_other_changes_of_its_body_as_they_are() -> None:
    """A body comes to what its changes come to, each in a body of its own, whatever one of them holds."""
    dice = Random(1)
    compared = with_events = 0
    for _ in range(BODIES):
        chosen = [dice.choice(CHANGES) for _ in range(dice.randint(2, 4))]
        entries = [{"id": account, "changes": [orjson.loads(change)]} for account, change in chosen]
        place = dice.randrange(len(entries))
        entries[place]["changes"] = [damaged(dice, chosen[place][1])]
        if dice.random() < 0.5:
            # In one entry, as long as they are of one account.
            account = entries[0]["id"]
            entries = [
                {"id": account, "changes": [change for entry in entries for change in entry["changes"]]}
            ]
        try:
            whole = parsed(entries)
        except UnparseableBody:
            continue
        alone = [
            parsed([{"id": entry["id"], "changes": [change]}])
            for entry in entries
            for change in entry["changes"]
        ]
        assert added([whole]) == added(alone), entries
        compared += 1
        with_events += bool(whole.events)
    assert compared > BODIES * 0.9
    assert with_events > BODIES * 0.7


def test_a_damaged_status_leaves_its_siblings_as_they_are() -> None:
    """Statuses of one change come to the same events as without the damaged one among them."""
    dice = Random(2)
    compared = 0
    for _ in range(BODIES):
        chosen = [orjson.loads(dice.choice(STATUSES)) for _ in range(dice.randint(2, 5))]
        place = dice.randrange(len(chosen))
        harm = damaged(dice, orjson.dumps(chosen[place]))
        try:
            whole = of_statuses([*chosen[:place], harm, *chosen[place + 1 :]])
        except UnparseableBody:
            continue
        before, after, alone = (
            of_statuses(part) if part else Parsed() for part in (chosen[:place], chosen[place + 1 :], [harm])
        )
        assert added([whole]) == added([before, alone, after]), harm
        compared += 1
    assert compared > BODIES * 0.9
