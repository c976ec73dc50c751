"""The garbage collector's share of a busy process.

Owns one call, to be made once after start-up. Everything imported by then lives as long as the process, and need
not be looked through again and again for garbage.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""Allocations between two collections of the youngest objects (Python's own figure is 700). A batch of requests under
way fits into it, so that most objects are gone, by their counts, before the collector looks."""


def settle() -> None:
    """Exempt what start-up has built from collection, and collect the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
