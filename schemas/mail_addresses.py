"""Which texts are addresses of mail, in a form that no two programs can read differently. Owns no mail."""

from __future__ import annotations

import re
from typing import Final

import idna

ADDRESS_CHARACTERS_MAX: Final = 254
_LOCAL_MAX: Final = 64
# No quoted local parts, comments or names: whatever two programs could read differently.
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
)


def checked_address(address: str) -> str:
    """Return one address with its domain in ASCII and small letters.

    Raises:
        ValueError: it is not exactly one plain address; says why.
    """
    if not address.isprintable() or any(each.isspace() for each in address):
        raise ValueError("an address has no spaces or line ends")
    local, at, domain = address.rpartition("@")
    if not at or "@" in local:
        raise ValueError("an address is NAME@DOMAIN")
    if not _LOCAL.fullmatch(local) or len(local) > _LOCAL_MAX:
        raise ValueError("before the @, letters, digits and signs of ASCII only, at most 64")
    try:
        plain = domain if domain.isascii() else idna.encode(domain, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise ValueError("this is no domain") from None
    if not _DOMAIN.fullmatch(plain.lower()) or len(local) + 1 + len(plain) > ADDRESS_CHARACTERS_MAX:
        raise ValueError("this is no domain")
    return f"{local}@{plain.lower()}"
