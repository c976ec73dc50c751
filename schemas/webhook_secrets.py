"""What notices are signed by, as people write it: ``whsec_`` and base64 (Standard Webhooks), or any text."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with


def key_of(secret: str) -> bytes:
    """Return the key of a secret: what follows ``whsec_`` is base64, any other text is its own UTF-8.

    Raises:
        ValueError: it begins with ``whsec_`` and is not base64.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError("base64 after whsec_") from error
