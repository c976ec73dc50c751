"""What every value of an event keeps within, whoever wrote it: the door refuses the rest, and so does the worker.

Owns the numbers. Behind them every event can be encoded, hashed, put on a day and stored in a row. Does not own the
checks (``schemas.refusing`` for foreign JSON, ``schemas.codec`` for batch records).
"""

from __future__ import annotations

from typing import Final

KEY_LENGTH_MAX: Final = 512
"""Characters of a string that becomes part of a key."""
PHONE_DIGITS_MIN: Final = 4
PHONE_DIGITS_MAX: Final = 20
CONVERSATION_ORIGIN_LENGTH_MAX: Final = 64
EARLIEST_SECONDS: Final = 1_230_768_000
"""2009-01-01 UTC: WhatsApp is no older. Near 1970 a local day can lie before the first one that a row can hold."""
TIMESTAMP_LIMIT: Final = 1 << 32
"""UTC seconds below this are times (until February 2106); a value in milliseconds is above it."""
ERROR_CODE_LIMIT: Final = 1 << 31
FUTURE_TOLERANCE_SECONDS: Final = 300
"""How far ``occurred_at`` may lie after ``received_at``."""
TIER_BOUND_LIMIT = 10**15
"""Messages of a month; far more than there are."""
