"""Segment's signature and token: who is let in.

`test_segment.py` tests what becomes of the elements.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from werkzeug.datastructures import EnvironHeaders

from adapter.sources.segment.kinds import SEGMENT
from adapter.sources.segment.signature import BatchWithoutToken
from adapter.sources.segment.source import SegmentSource
from catalog.events import EVENTS
from freshgate.errors import NotAuthentic, UnsupportedBody
from freshgate.settings import SourceSettings

SECRET, TOKEN = "abc123", "second-factor"
SINGLE, SINGLE_SIGNED = b'{"cool":true}', "5099cab379b3be52908387457007040cc934ef86"
BATCH, BATCH_SIGNED = b'[{"cool":false},{"cool":true}]', "c702b94a2569dd8d2f7185ce0ae951021bef4706"


def source(secrets: tuple[str, ...] = (SECRET,), tokens: tuple[str, ...] = (TOKEN,), **more: Any) -> SegmentSource:
    return SEGMENT.configure("shop", SourceSettings(kind="segment", secrets=secrets, tokens=tokens, **more), EVENTS)


def sign(signed: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha1).hexdigest()


def test_a_single_object_is_signed_as_a_whole() -> None:
    source().verify(SINGLE, {"X-Signature": SINGLE_SIGNED})


def test_a_batch_is_signed_over_its_first_element_and_vouched_for_by_a_token() -> None:
    source().verify(BATCH, {"X-Signature": BATCH_SIGNED, "X-Freshgate-Token": TOKEN})


def test_headers_of_a_wsgi_server_are_understood_whatever_their_case() -> None:
    source().verify(BATCH, EnvironHeaders({"HTTP_X_SIGNATURE": BATCH_SIGNED, "HTTP_X_FRESHGATE_TOKEN": TOKEN}))


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha1=" + SINGLE_SIGNED,
        SINGLE_SIGNED[:-1],
        SINGLE_SIGNED + "0",
        " " + SINGLE_SIGNED,
        SINGLE_SIGNED.upper(),
        sign(SINGLE, "another secret"),
        "é" * 40,
        "\ud83d" * 40,
        "\x00",
        hmac.new(SECRET.encode(), SINGLE, hashlib.sha256).hexdigest(),
    ],
    ids=[
        *("missing", "empty", "prefixed", "too short", "too long", "spaced", "upper case", "wrong key"),
        *("not ASCII", "no text at all", "control character", "SHA-256"),
    ],
)
def test_any_other_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(NotAuthentic) as caught:
        source().verify(SINGLE, {} if signature is None else {"X-Signature": signature})
    assert caught.value.status == 401
    assert "FRESHGATE_SOURCES__SHOP__SECRETS" in caught.value.hint


@pytest.mark.parametrize("at", range(len(SINGLE)))
def test_a_body_altered_by_one_byte_is_refused(at: int) -> None:
    altered = SINGLE[:at] + bytes([SINGLE[at] ^ 1]) + SINGLE[at + 1 :]
    with pytest.raises(NotAuthentic):
        source().verify(altered, {"X-Signature": SINGLE_SIGNED, "X-Freshgate-Token": TOKEN})


def test_a_signature_over_the_whole_array_is_refused() -> None:
    with pytest.raises(NotAuthentic):
        source().verify(BATCH, {"X-Signature": sign(BATCH), "X-Freshgate-Token": TOKEN})


def test_a_batch_of_one_needs_no_token() -> None:
    source().verify(b' [ {"cool":true}\n] ', {"X-Signature": SINGLE_SIGNED})


@pytest.mark.parametrize("tail", [b',{"forged":1}]', b" , 7]", b"],[]", b'] {"forged":1}', b",]", b""])
def test_a_tail_forged_behind_a_captured_event_is_refused_without_a_token(tail: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(b"[" + SINGLE + tail, {"X-Signature": SINGLE_SIGNED})


def test_a_signed_batch_without_a_token_can_be_counted_and_names_the_setting() -> None:
    with pytest.raises(BatchWithoutToken) as caught:
        source(tokens=()).verify(BATCH, {"X-Signature": BATCH_SIGNED})
    assert caught.value.kind == "batch_without_token"
    assert "FRESHGATE_SOURCES__SHOP__TOKENS" in caught.value.hint


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", "é", "\ud83d", "☃"])
@pytest.mark.parametrize(("body", "signature"), [(SINGLE, SINGLE_SIGNED), (BATCH, BATCH_SIGNED)])
def test_a_wrong_token_is_refused_even_beside_a_right_signature(body: bytes, signature: str, token: str) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(body, {"X-Signature": signature, "X-Freshgate-Token": token})


def test_a_batch_needs_its_signature_even_with_a_right_token() -> None:
    with pytest.raises(NotAuthentic):
        source().verify(BATCH, {"X-Freshgate-Token": TOKEN})


def test_an_empty_array_is_let_in_by_its_token_alone() -> None:
    source().verify(b" [ ] ", {"X-Freshgate-Token": TOKEN})
    with pytest.raises(NotAuthentic):
        source().verify(b"[]", {"X-Signature": sign(b"[]")})


def test_without_secrets_the_token_decides() -> None:
    source(secrets=()).verify(BATCH, {"X-Freshgate-Token": TOKEN})
    for headers in ({}, {"X-Freshgate-Token": "x"}, {"X-Signature": BATCH_SIGNED}):
        with pytest.raises(NotAuthentic):
            source(secrets=()).verify(BATCH, headers)


def test_old_and_new_secrets_and_tokens_are_valid_at_once() -> None:
    rotating = source(secrets=("new", SECRET), tokens=("new-token", TOKEN))
    rotating.verify(BATCH, {"X-Signature": BATCH_SIGNED, "X-Freshgate-Token": TOKEN})
    rotating.verify(BATCH, {"X-Signature": sign(b'{"cool":false}', "new"), "X-Freshgate-Token": "new-token"})


def test_secrets_beyond_a_hash_block_and_beyond_ascii_sign_as_hmac_says() -> None:
    for secret in ("k" * 64, "k" * 65, "k" * 200, "clé"):
        source(secrets=(secret,)).verify(SINGLE, {"X-Signature": sign(SINGLE, secret)})


def test_a_token_beyond_ascii_arrives_as_latin_1_text() -> None:
    wire = "clé".encode().decode("latin-1")
    source(secrets=(), tokens=("clé",)).verify(SINGLE, {"X-Freshgate-Token": wire})


def test_the_extensible_webhook_signs_the_object_within_its_wrapper() -> None:
    body = b'[{"json": ' + SINGLE + b' }, {"json": {"cool":false}}]'
    source().verify(body, {"X-Signature": SINGLE_SIGNED, "X-Freshgate-Token": TOKEN})


@pytest.mark.parametrize("extra", [b',"type":"delete"', b',"json":{}', b",7", b" 7", b"}"])
def test_nothing_beside_the_wrapped_object_is_covered_by_its_signature(extra: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(b'[{"json":' + SINGLE + extra + b"}]", {"X-Signature": SINGLE_SIGNED})


def test_brackets_within_texts_do_not_end_the_first_element() -> None:
    first = rb'{"a":"}]\"[{\\","b":[1,{"c":"],["}]}'
    source().verify(b"[" + first + b"]", {"X-Signature": sign(first)})


@pytest.mark.parametrize("piece", [b"[", b"{}", b"}", b'"', b'"",', b"\\", b" "])
def test_an_endless_body_from_a_stranger_is_refused(piece: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(b"[" + piece * 3_000_000, {"X-Signature": SINGLE_SIGNED})


@pytest.mark.parametrize(
    "header",
    [{"Content-Encoding": "gzip"}, {"Content-Type": "Application/x-www-form-urlencoded; charset=utf-8"}],
)
def test_a_body_that_was_not_signed_as_sent_is_unsupported(header: dict[str, str]) -> None:
    with pytest.raises(UnsupportedBody) as caught:
        source().verify(SINGLE, {"X-Signature": SINGLE_SIGNED, **header})
    assert caught.value.status == 415
