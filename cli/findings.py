"""What ``doctor`` finds. Owns the shape, no check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; ``advice`` is empty where all is well."""

    subject: str
    state: str
    advice: str = ""
