"""Dead letters as the ``dlq`` verb sees them: paged, and sent through the parser again.

Owns the paging. A replayed letter stays where it is; replaying it twice changes no number.
"""

from __future__ import annotations

from cli.engine import DeadLetterRow, Intake
from cli.intake import LineIntake
from schemas.dead_letter import UnreadableDeadLetter, decode_dead_letter
from schemas.topics import DEAD_LETTER
from streams.embedded.log import EmbeddedLog, OffsetOutOfRange


class DeadLetters:
    """The dead letters of an embedded log. A letter's id is its offset."""

    def __init__(self, log: EmbeddedLog, intake: LineIntake) -> None:
        """Read from a log, replay into an intake."""
        self._log = log
        self._intake = intake

    def page(self, after: int, limit: int) -> list[DeadLetterRow]:
        """Return up to ``limit`` letters with an id greater than ``after``, oldest first."""
        offset = max(after + 1, self._log.start_offset(DEAD_LETTER, 0))
        stored = self._log.read(DEAD_LETTER, 0, offset, max_records=limit)
        return [_row(entry.offset, entry.record.value or b"", entry.record.timestamp_ms) for entry in stored]

    async def replay(self, ids: list[int]) -> Intake:
        """Parse the payloads again and append what is good now.

        Raises:
            LookupError: a letter is not there (any more).
        """
        total = Intake()
        for letter_id in ids:
            payload = self._payload(letter_id)
            total.add(await self._intake.take([payload], None, letter_id, "replay"))
        return total

    def _payload(self, letter_id: int) -> bytes:
        try:
            stored = self._log.read(DEAD_LETTER, 0, letter_id, max_records=1)
        except OffsetOutOfRange:
            stored = []
        if not stored or stored[0].offset != letter_id:
            raise LookupError(
                f"there is no dead letter {letter_id}; `convometer dlq list` shows those that are there"
            )
        return decode_dead_letter(stored[0].record.value or b"").payload


def _row(letter_id: int, value: bytes, time_ms: int) -> DeadLetterRow:
    try:
        letter = decode_dead_letter(value)
    except UnreadableDeadLetter as error:
        return DeadLetterRow(letter_id, "unreadable", str(error), "", time_ms, "", "")
    payload = letter.payload.decode("utf-8", "replace")
    return DeadLetterRow(
        letter_id, letter.reason, letter.detail, letter.account, letter.received_at, letter.source, payload
    )
