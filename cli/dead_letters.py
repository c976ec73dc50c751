"""Dead letters as the ``dlq`` verb sees them: paged, and sent through the parser again.

Owns the paging. A replayed letter stays where it is; replaying it twice changes no number.
"""

from __future__ import annotations

from cli.engine import DeadLetterRow, Intake
from cli.intake import LineIntake
from schemas.dead_letter import UnreadableDeadLetter, decode_dead_letter
from schemas.topics import DEAD_LETTER
from streams.log import WorkerLog
from streams.records import StoredRecord


class DeadLetters:
    """The dead letters of a log. A letter's id is its offset."""

    def __init__(self, log: WorkerLog, intake: LineIntake) -> None:
        """Read from a log, replay into an intake."""
        self._log = log
        self._intake = intake

    async def page(self, after: int, limit: int) -> list[DeadLetterRow]:
        """Return up to ``limit`` letters with an id greater than ``after``, oldest first."""
        return [
            _row(entry.offset, entry.record.value or b"", entry.record.timestamp_ms)
            for entry in await _read(self._log, after + 1, limit)
        ]

    async def replay(self, ids: list[int]) -> Intake:
        """Parse the payloads again and append what is good now.

        Raises:
            LookupError: a letter is not there (any more).
        """
        total = Intake()
        for letter_id in ids:
            payload = await self._payload(letter_id)
            total.add(await self._intake.take([payload], None, letter_id, "replay"))
        return total

    async def _payload(self, letter_id: int) -> bytes:
        stored = await _read(self._log, letter_id, 1)
        if not stored or stored[0].offset != letter_id:
            raise LookupError(
                f"there is no dead letter {letter_id}; `convometer dlq list` shows those that are there"
            )
        return decode_dead_letter(stored[0].record.value or b"").payload


async def newest_letters(log: WorkerLog, limit: int) -> list[DeadLetterRow]:
    """Return the last ``limit`` letters of a log, oldest first; fewer where retention has made holes."""
    end = (await log.bounds(DEAD_LETTER, 0)).end
    return [
        _row(entry.offset, entry.record.value or b"", entry.record.timestamp_ms)
        for entry in await _read(log, max(end - limit, 0), limit)
    ]


async def _read(log: WorkerLog, offset: int, limit: int) -> list[StoredRecord]:
    bounds = await log.bounds(DEAD_LETTER, 0)
    found: list[StoredRecord] = []
    # The oldest may go while we read, which is no fault: we go on with those that are there.
    async for chunk in log.read(DEAD_LETTER, 0, max(offset, bounds.start), bounds.end):
        found += chunk
        if len(found) >= limit:
            break
    return found[:limit]


def _row(letter_id: int, value: bytes, time_ms: int) -> DeadLetterRow:
    try:
        letter = decode_dead_letter(value)
    except UnreadableDeadLetter as error:
        return DeadLetterRow(letter_id, "unreadable", str(error), "", time_ms, "", "")
    payload = letter.payload.decode("utf-8", "replace")
    return DeadLetterRow(
        letter_id, letter.reason, letter.detail, letter.account, letter.received_at, letter.source, payload
    )
