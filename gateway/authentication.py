"""Who may send: webhook signatures, bearer tokens, and the token of the verification GET.

Owns the comparison, always in constant time, and which secret may speak for which account. Never parses a body.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import RequestRefused
from runtime.settings import Settings

SIGNATURE_HEADER = b"x-hub-signature-256"
SIGNATURE_PREFIX = "sha256="
DIGEST = "sha256"
HASHED_BYTES_MAX = 32 << 20
"""How much one body may cost in hashing. Every small body is tried against thousands of secrets, a 3 MiB body
against ten: else junk of that size, times all secrets, would keep the process busy for seconds."""
_HASH_BYTES_MIN = 1024
_HINTS_MAX = 8

# A look at raw bytes, not a parse: it only decides which secrets are tried first.
_ID = re.compile(rb'"id"\s*:\s*"?([^"\s,}]{1,64})')
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Signer:
    """What a valid signature proves: the accounts its secret may speak for; None = all of them."""

    accounts: frozenset[str] | None

    def may_speak_for(self, accounts: Iterable[str]) -> bool:
        """Tell whether every one of the accounts belongs to this signer."""
        return self.accounts is None or self.accounts.issuperset(accounts)


class SecretBook:
    """All app secrets, and the accounts that each may speak for. Several may be valid at once (rotation)."""

    def __init__(self, shared: Sequence[str], by_account: Mapping[str, Sequence[str]]) -> None:
        """Take the secrets for every account and those of single accounts."""
        owners: dict[bytes, set[str]] = {}
        for account, secrets in by_account.items():
            for secret in secrets:
                owners.setdefault(secret.encode(), set()).add(account)
        self._shared = [secret.encode() for secret in dict.fromkeys(shared)]
        # A secret that is listed for all accounts as well speaks for all.
        self._owned = {
            key: Signer(frozenset(accounts)) for key, accounts in owners.items() if key not in self._shared
        }
        self._by_account = {
            account.encode(): [secret.encode() for secret in secrets]
            for account, secrets in by_account.items()
            if secrets
        }

    def __bool__(self) -> bool:
        """Tell whether any secret is configured at all."""
        return bool(self._shared or self._owned)

    def verify(self, body: bytes, signature: bytes) -> Signer | None:
        """Return the signer whose secret made this HMAC-SHA256 of the raw body, or None."""
        for key in self._shared:
            if hmac.compare_digest(hmac.digest(key, body, DIGEST), signature):
                return Signer(None)
        tries = HASHED_BYTES_MAX // max(len(body), _HASH_BYTES_MIN)
        for key in self._owned_by_likelihood(body)[:tries] if self._owned else ():
            if hmac.compare_digest(hmac.digest(key, body, DIGEST), signature):
                return self._owned[key]
        return None

    def _owned_by_likelihood(self, body: bytes) -> list[bytes]:
        """Return the single accounts' secrets, those of accounts that the body seems to name first."""
        hinted: dict[bytes, None] = {}
        for match in _ID.finditer(body):
            if match[1] in self._by_account:
                hinted[match[1]] = None
                if len(hinted) == _HINTS_MAX:
                    break
        first = (key for account in hinted for key in self._by_account[account] if key in self._owned)
        return list(dict.fromkeys((*first, *self._owned)))


@dataclass(frozen=True, slots=True)
class Credentials:
    """What senders are recognised by."""

    verify_tokens: tuple[str, ...]
    events_tokens: tuple[str, ...]
    app_secrets: SecretBook


def credentials_of(settings: Settings) -> Credentials:
    """Take secrets and tokens out of the settings."""
    gateway = settings.gateway
    by_account = {
        account: [secret.get_secret_value() for secret in entry.app_secrets]
        for account, entry in settings.accounts.items()
    }
    return Credentials(
        (gateway.verify_token.get_secret_value(),) if gateway.verify_token else (),
        tuple(token.get_secret_value() for token in gateway.events_tokens),
        SecretBook([secret.get_secret_value() for secret in gateway.app_secrets], by_account),
    )


def parse_signature(header: str) -> bytes:
    """Return the 32 bytes of an ``X-Hub-Signature-256`` header.

    Raises:
        RequestRefused: 401, if the header is missing or not of that form.
    """
    if not header:
        raise RequestRefused(
            401,
            "signature_missing",
            "the X-Hub-Signature-256 header is missing",
            "sign the raw body with the app secret: sha256=HMAC-SHA256 in hexadecimal",
            close=True,
        )
    digits = header.removeprefix(SIGNATURE_PREFIX)
    if len(digits) == len(header) or not _HEXADECIMAL.fullmatch(digits):
        raise RequestRefused(
            401,
            "signature_malformed",
            "the X-Hub-Signature-256 header is not sha256= and 64 hexadecimal digits",
            "sign the raw body with the app secret: sha256=HMAC-SHA256 in hexadecimal",
            close=True,
        )
    return bytes.fromhex(digits)


def is_one_of(given: str, accepted: Iterable[str]) -> bool:
    """Tell whether a token equals one of the accepted ones; all are compared, each in constant time."""
    found = False
    for token in accepted:
        found |= hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())
    return found


def check_bearer(header: str, tokens: Sequence[str]) -> None:
    """Check an ``Authorization: Bearer`` header.

    Raises:
        RequestRefused: 401, if no token is configured, or the header is missing or holds another token.
    """
    hint = "send Authorization: Bearer TOKEN with a token of gateway.events_tokens"
    if not tokens:
        hint = "no token is configured: set gateway.events_tokens, then send Authorization: Bearer TOKEN"
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not is_one_of(token.strip(), tokens):
        raise RequestRefused(401, "token_invalid", "the bearer token is missing or wrong", hint, close=True)
