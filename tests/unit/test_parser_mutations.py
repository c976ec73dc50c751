"""A hundred thousand damaged bodies: nothing crashes, nothing is lost, nothing unencodable is accepted.

Accepted, refused and ignored make up what was sent.

The count of updates is written here once more, from the parser's contract and without its code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import orjson

import schemas
from schemas import canonical, meta
from schemas.codec import decode_batch, encode_batch
from schemas.events import REFUSAL_REASONS, Parsed, Refusal
from schemas.refusing import UnparseableBody

RECEIVED_AT_MS = 1_793_664_000_000
META_BODIES = 100_000
CANONICAL_BODIES = 20_000

EXAMPLES = Path(schemas.__file__).parent / "examples" / "meta"
META_SEEDS = [
    path.read_bytes() for path in sorted(EXAMPLES.glob("*.json")) if not path.name.endswith(".expected.json")
]
CANONICAL_FULL = {
    "account": "9001",
    "number": "7001",
    "kind": "sent",
    "message_id": "m1",
    "occurred_at": 1_793_577_600,
    "user_phone": "254700000001",
    "country": "KE",
    "category": "utility",
    "template": True,
    "billable": "true",
    "referral": False,
    "conversation_id": "c",
    "conversation_origin": "utility",
    "conversation_expires_at": 1_793_664_000,
    "error_code": 1,
}
CANONICAL_IDENTITY = {
    "account": "9001",
    "kind": "identity",
    "occurred_at": 1_793_577_600,
    "user_bsuid": "KE.2",
    "user_previous_bsuid": "KE.1",
}
CANONICAL_SEEDS = [
    orjson.dumps(CANONICAL_FULL),
    orjson.dumps(
        [
            {**CANONICAL_FULL, "kind": "incoming", "user_phone": None, "user_bsuid": "KE.1"},
            {"account": "9001", "kind": "read"},
        ]
    ),
    orjson.dumps(
        [
            {**CANONICAL_FULL, "kind": "identity", "user_bsuid": "KE.2", "user_previous_bsuid": "KE.1"},
            {**CANONICAL_IDENTITY, "user_phone": "254700000001"},
        ]
    ),
    orjson.dumps(CANONICAL_IDENTITY),
]

# Written into the bytes after encoding: JSON that the encoder itself would refuse to write.
LITERALS = {
    b'"@huge@"': b"123456789012345678901234567890",
    b'"@negative@"': b"-99999999999999999999",
    b'"@tiny@"': b"1e-400",
    b'"@deep@"': b'{"errors":[' * 400 + b"0" + b"]}" * 400,
    b'"@surrogate@"': b'"\\ud83d"',
    b'"@twice@"': b'{"id":"1","id":{"id":[]}}',
}
_GARBAGE_VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**32, 2**63, "", " ", "\0", "a\0b", "x" * 513, "x" * 9_000, "+",
    "\u0663", "\U0001f44d", "\u202e", "true", "group", "payment", "system", "deleted", "messages", "KE.1",
    "1793577600", "user_id_update", "user_changed_number", "identity",
    [], {}, [[]], [None], [{}], {"": ""}, {"id": {}}, [1, "a", None], "@deep@", "@huge@",
    "@negative@", "@tiny@", "@twice@", "@surrogate@",
)  # fmt: skip
RENAMED = (
    "id", "status", "type", "statuses", "messages", "recipient_type", "from", "user_id_update", "user_id",
    "previous_user_id", "user_previous_bsuid",
)  # fmt: skip
# As JSON, so that every use is a fresh value.
GARBAGE = [orjson.dumps(value) for value in _GARBAGE_VALUES]

Parser = Callable[[bytes, int], Parsed]


def test_damaged_webhook_bodies() -> None:
    """Any bytes either are unparseable as a whole or every update in them lands in exactly one list."""
    parsed_bodies = _run(meta.parse, META_SEEDS, META_BODIES, _meta_updates)
    # Most must get past the outer shape, or the test would say little about what is inside.
    assert parsed_bodies > META_BODIES * 0.7


def test_damaged_canonical_bodies() -> None:
    """The same for the canonical format."""
    parsed_bodies = _run(canonical.parse, CANONICAL_SEEDS, CANONICAL_BODIES, _canonical_updates)
    assert parsed_bodies > CANONICAL_BODIES * 0.7


def _run(parse: Parser, seeds: list[bytes], count: int, updates_in: Callable[[object], int]) -> int:
    """Parse ``count`` damaged bodies, check every promise on each, and return how many were parseable."""
    dice = Random(20261122)
    parsed_bodies = 0
    for index in range(count):
        content = _damaged(dice, dice.choice(seeds))
        try:
            parsed = parse(content, RECEIVED_AT_MS)
        except UnparseableBody:
            continue
        parsed_bodies += 1
        assert parsed.update_count == updates_in(json.loads(content)), content
        assert decode_batch(encode_batch(parsed.events)) == parsed.events, content
        if parsed.refusals and index % 4 == 0:
            _check_replay(parse, dice.choice(parsed.refusals))
    return parsed_bodies


def _check_replay(parse: Parser, refusal: Refusal) -> None:
    """A refusal is encodable, and its payload alone is refused once, for the same reason."""
    assert refusal.reason in REFUSAL_REASONS
    (refusal.account + refusal.detail).encode()
    again = parse(refusal.payload, RECEIVED_AT_MS)
    assert [found.reason for found in again.refusals] == [refusal.reason], refusal
    assert (again.events, again.ignored) == ([], []), refusal


def _damaged(dice: Random, seed: bytes) -> bytes:
    """Return a seed with one to four changes of its tree, and now and then of its bytes."""
    document = orjson.loads(seed)
    for _ in range(dice.randint(1, 4)):
        change_somewhere(dice, document)
    content = orjson.dumps(document)
    if b'"@' in content:
        for mark, literal in LITERALS.items():
            content = content.replace(mark, literal)
    if dice.random() < 0.2:
        content = _with_damaged_bytes(dice, content)
    return content


def change_somewhere(dice: Random, document: object) -> None:
    """Delete, replace, duplicate or rename one element, reached by a random walk from the root."""
    node = document
    while True:
        if not isinstance(node, dict | list) or not node:
            return
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        deeper = [key for key in keys if isinstance(node[key], dict | list) and node[key]]
        # Most walks go down to a single update: that is where most of the reading happens.
        if not deeper or dice.random() < 0.08:
            key = dice.choice(keys)
            child = node[key]
            break
        node = node[dice.choice(deeper)]
    choice = dice.random()
    if choice < 0.2:
        del node[key]
    elif choice < 0.7:
        node[key] = orjson.loads(dice.choice(GARBAGE))
    elif choice < 0.8:
        node[key] = [child]
    elif isinstance(node, list):
        node.insert(key, child)
    else:
        node[dice.choice(RENAMED)] = child


def _with_damaged_bytes(dice: Random, content: bytes) -> bytes:
    if dice.random() < 0.3:
        return content[: dice.randrange(len(content))]
    damaged = bytearray(content)
    for _ in range(dice.randint(1, 3)):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def _meta_updates(document: object) -> int:
    """Return how many updates a webhook object holds."""
    assert isinstance(document, dict)
    return sum(_updates_of_entry(entry) for entry in document["entry"])


def _updates_of_entry(entry: object) -> int:
    if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
        return 1
    return sum(_updates_of_change(change) for change in entry["changes"])


def _updates_of_change(change: object) -> int:
    field = change.get("field") if isinstance(change, dict) else None
    value = change.get("value") if isinstance(change, dict) else None
    if field not in ("messages", "user_id_update") or not isinstance(value, dict):
        return 1
    names = ("statuses", "messages") if field == "messages" else ("user_id_update",)
    lists = [value.get(name) for name in names]
    return sum(_updates_of_list(updates) for updates in lists) or 1


def _updates_of_list(updates: object) -> int:
    if isinstance(updates, list):
        return len(updates)
    return 0 if updates is None else 1


def _canonical_updates(document: object) -> int:
    return len(document) if isinstance(document, list) else 1
