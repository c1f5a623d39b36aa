"""Keys: the hash of an address is HMAC-SHA256, whatever the key's length and the address' characters."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode

import pytest

from freshgate.state import keys

ADDRESSES = ("Ada@Example.com", "zoë@example.com", "\ud83d@example.com")


@pytest.mark.parametrize("length", [1, 20, 64, 65, 200])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_hashed_with_hmac_sha256_under_keys_of_any_length(length: int, address: str) -> None:
    key = b"k" * length
    digest = hmac.digest(key, address.lower().encode("utf-8", "surrogatepass"), "sha256")
    assert keys.address_id(key, address) == urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
