"""The secret book: which secrets are tried, in what order, and at what cost."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from gateway.authentication import HASHED_BYTES_MAX, SecretBook


def signature(body: bytes, secret: str) -> bytes:
    """Return the HMAC that a sender with the secret makes."""
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()


def test_shared_secret_speaks_for_all() -> None:
    """A signer with a shared secret may speak for any account, also when an account lists the secret as well."""
    book = SecretBook(["shared"], {"9001": ["shared"]})
    signer = book.verify(b"{}", signature(b"{}", "shared"))
    assert signer is not None
    assert signer.may_speak_for(["9001", "unheard of"])


def test_secret_of_two_accounts_speaks_for_both_only() -> None:
    """A secret listed by two accounts speaks for these two."""
    book = SecretBook([], {"9001": ["own"], "9002": ["own"], "9003": ["other"]})
    signer = book.verify(b"{}", signature(b"{}", "own"))
    assert signer is not None
    assert signer.may_speak_for(["9001", "9002"])
    assert not signer.may_speak_for(["9001", "9003"])


def test_every_secret_is_found_for_small_bodies() -> None:
    """With hundreds of accounts, a body that names none of them still finds its secret (and then gets 403)."""
    book = SecretBook([], {f"{number}": [f"secret-{number}"] for number in range(500)})
    signer = book.verify(b"{}", signature(b"{}", "secret-499"))
    assert signer is not None
    assert signer.accounts == frozenset({"499"})


def test_large_body_is_hashed_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Junk of the largest size must not cost one hash per account."""
    book = SecretBook([], {f"{number}": [f"secret-{number}"] for number in range(500)})
    hashed_bytes = 0
    real_digest = hmac.digest

    def counting(key: bytes, message: bytes, digest: str) -> bytes:
        nonlocal hashed_bytes
        hashed_bytes += len(message)
        return real_digest(key, message, digest)

    monkeypatch.setattr(hmac, "digest", counting)
    assert book.verify(b"x" * (3 << 20), bytes(32)) is None
    assert 0 < hashed_bytes <= HASHED_BYTES_MAX


@pytest.mark.parametrize(
    "template",
    [b'{"entry":[{"id":"499"}]%s}', b'{"entry":[{"id" : "499"}]%s}', b'{"a":{"id":"wamid.1"},"id":"499"%s}'],
)
def test_named_account_is_tried_first(template: bytes) -> None:
    """A large body of an account finds that account's secret in spite of the bound."""
    book = SecretBook([], {f"{number}": [f"secret-{number}"] for number in range(500)})
    body = template % (b" " * (3 << 20))
    signer = book.verify(body, signature(body, "secret-499"))
    assert signer is not None
    assert signer.accounts == frozenset({"499"})


def test_empty_book_is_false() -> None:
    """A book without secrets says so, so that the gateway can name the setting."""
    assert not SecretBook([], {"9001": []})
    assert SecretBook([], {"9001": ["own"]})
