"""Where time zones come from: the installed ``tzdata`` package, never the machine's own files.

Days are counted by zones, so two machines with the same lock file must know the same ones; Python by itself prefers
the machine's. Owns the search path, which is set when this is imported: other modules take ``ZoneInfo`` from here.
"""

from __future__ import annotations

import zoneinfo
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

__all__ = ["ZONE_DATABASE", "ZoneInfo", "ZoneInfoNotFoundError", "available_timezones"]

zoneinfo.reset_tzpath(to=())
ZoneInfo.clear_cache()

ZONE_DATABASE: Final = f"tzdata {version('tzdata')}"
"""The package and its version, as they are installed."""
