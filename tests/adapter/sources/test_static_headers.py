"""Every kind whose secret is the whole `Authorization` header: who is let in.

`contract.py` has what all sources share.
"""

from __future__ import annotations

from typing import Any

import pytest

from adapter.sources import SOURCES
from adapter.sources.base import Source, SourceKind, authorization
from catalog.events import EVENTS
from freshgate.errors import NotAuthentic
from freshgate.settings import SourceSettings

HEADER, TOKEN = "Basic c2hvcDpzZWNyZXQ=", "second-factor"
BEARER = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"
KINDS = [kind for kind in SOURCES.values() if kind.prove is authorization]
for_each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def source(kind: SourceKind[Source], **settings: Any) -> Source:
    return kind.configure("shop", SourceSettings(kind=kind.name, **{"secrets": (HEADER,), **settings}), EVENTS)


def test_these_kinds_are_proved_by_a_header() -> None:
    assert {kind.name for kind in KINDS} >= {"mparticle", "tealium", "rudderstack", "hightouch"}


@for_each_kind
@pytest.mark.parametrize(
    "header", [None, "", HEADER[:-1], HEADER + " ", " " + HEADER, HEADER.lower(), HEADER.split()[1], "é", "☃", "\ud83d"]
)
def test_any_other_authorization_is_refused_and_names_the_setting(kind: SourceKind[Source], header: str | None) -> None:
    with pytest.raises(NotAuthentic) as caught:
        source(kind).verify(b"{}", {} if header is None else {"Authorization": header})
    assert caught.value.status == 401
    assert "FRESHGATE_SOURCES__SHOP__SECRETS" in caught.value.hint
    assert HEADER not in caught.value.hint + caught.value.reason


@for_each_kind
def test_basic_and_bearer_are_valid_at_once_while_they_are_changed(kind: SourceKind[Source]) -> None:
    for header in (HEADER, BEARER):
        source(kind, secrets=(HEADER, BEARER)).verify(b"{}", {"Authorization": header})


@for_each_kind
def test_a_token_is_asked_for_beside_the_header_where_one_is_set(kind: SourceKind[Source]) -> None:
    both = source(kind, tokens=(TOKEN,))
    both.verify(b"{}", {"Authorization": HEADER, "X-Freshgate-Token": TOKEN})
    for headers in ({"Authorization": HEADER}, {"X-Freshgate-Token": TOKEN}):
        with pytest.raises(NotAuthentic):
            both.verify(b"{}", headers)


@for_each_kind
def test_the_token_alone_decides_where_there_is_no_secret(kind: SourceKind[Source]) -> None:
    alone = source(kind, secrets=(), tokens=(TOKEN,))
    alone.verify(b"{}", {"X-Freshgate-Token": TOKEN})
    with pytest.raises(NotAuthentic):
        alone.verify(b"{}", {"X-Freshgate-Token": TOKEN + "x"})
