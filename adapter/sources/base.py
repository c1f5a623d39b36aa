"""What a source kind declares, and what a source does: verify the raw bytes, then read them into canonical events.

`SOURCES` in `__init__` lists the kinds; a source is a kind configured with one table of the settings.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from freshgate.declare import EventType
from freshgate.events import Refused, Verdict
from freshgate.settings import SourceSettings

FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"


class Headers(Protocol):
    """Header fields by name, whatever their case: werkzeug's, or any mapping in tests."""

    def get(self, key: str, /) -> str | None: ...


class RequestContext(msgspec.Struct, frozen=True):
    """What a request says beside its body.

    content_type    of the body; decides whether it is read as a form
    audience, turn  from the URL of an audience
    call            from a URL of the HTTP Tracking API
    """

    content_type: str = ""
    audience: str = ""
    turn: Literal["", "joined", "left"] = ""
    call: str = ""


NO_CONTEXT = RequestContext()


class Source(Protocol):
    """One configured webhook endpoint."""

    name: str
    settings: SourceSettings

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic (or UnsupportedBody) unless the bytes are provably from this source."""

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict an element, in order. Raises RequestError for the body as a whole only."""


def failed(error: Exception, raw: bytes) -> Refused:
    """The verdict on an element on which our own code failed, so that its neighbours are read."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    # The error's own text may quote the element.
    return Refused("internal", raw, f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}")


S_co = TypeVar("S_co", bound=Source, covariant=True)


def authorization(secret: str, body: bytes) -> dict[str, str]:
    """The headers of a CDP that signs nothing: the secret is the whole `Authorization` value."""
    return {"Authorization": secret}


def in_header(header: str) -> Callable[[str, bytes], dict[str, str]]:
    """The `prove` of a CDP that sends its secret in another header, such as X-Api-Key."""
    return lambda secret, body: {header: secret}


class SecurityScheme(msgspec.Struct, frozen=True, kw_only=True):
    """How the OpenAPI document shows a kind's authentication.

    name               the scheme's name in the document; kinds that share it declare the same
    scheme             OpenAPI's Security Scheme Object
    with_token         it may be asked for together with X-Freshgate-Token
    on_audience_urls   it is listed for the URLs of audiences, too
    """

    name: str
    scheme: Mapping[str, str]
    with_token: bool = False
    on_audience_urls: bool = True


AUTHORIZATION = SecurityScheme(name="header", scheme={"type": "apiKey", "in": "header", "name": "Authorization"})


class ExampleEvent(msgspec.Struct, frozen=True, kw_only=True):
    """How a shop's own event is spelled: what `python -m adapter new event` writes.

    when     the `when` of its From; `{name}` and `{slug}` stand for the event's name
    field    the path of its one field, `plan`
    payload  the template of its payload, in the folder of the kind; None is a flat object
    element  the keys and indexes that lead to the element in the payload; () is the payload itself
    """

    when: Mapping[str, str]
    field: str
    payload: Path | None = None
    element: tuple[str | int, ...] = ()


def spell_by_name(name: str) -> Mapping[str, str] | None:
    """The `when` of an element that says what happened in its member `event`."""
    return {"event": name}


@dataclass(frozen=True, kw_only=True)
class SourceKind(Generic[S_co]):
    """A CDP's dialect, declared as a whole in its own folder. Whoever asks about a kind asks this declaration.

    name            what `sources.<name>.kind` says in the settings
    configure       (source's name, its settings, the catalog) -> the source, ready to verify and read.
                    Raises SettingsError without a secret, CatalogError for what cannot be compiled
    reads           whose `From` in the catalog it reads, where that is not its own
    reads_own_too   whether it reads a `From` of its own besides
    roots           the members that a path in the catalog may begin with; empty is any
    texts           path in a `when` -> all texts that the CDP sends there, where that is a closed set
    beside          path in a `when` -> (another path, the texts there without which it is never present)
    spell           name in the list of unmapped events -> the `when` that matches it; None where none can
    own_emails      the paths at which a person's own address stands in every element
    example_event   how `new event` spells an event for it, and the payload that it writes
    prove           (secret, body) -> the headers with which the CDP sends that body
    proven_by       the setting that has its secrets
    max_bytes       the largest body, where the settings do not say it: what the CDP sends at most, or well above that
    first_secrets   which of "secret", "token" and "write_key" a first run makes -> what stands before the random
                    part. Where a header is all there is, a token would be a second one that somebody has to set
    security        its authentication in the OpenAPI document
    endpoint        where it is posted to: /webhooks/<name>, or the HTTP Tracking API
    has_audiences   it has URLs of audiences below its own, and may be sent by GET where the settings allow it
    """

    name: str
    configure: Callable[[str, SourceSettings, Sequence[EventType]], S_co]
    reads: str = ""
    reads_own_too: bool = False
    roots: tuple[str, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    spell: Callable[[str], Mapping[str, str] | None] = spell_by_name
    own_emails: tuple[str, ...] = ()
    example_event: ExampleEvent = ExampleEvent(when={"event": "{name}"}, field="plan")
    prove: Callable[[str, bytes], dict[str, str]] = authorization
    proven_by: Literal["secrets", "write_keys"] = "secrets"
    max_bytes: int = 8 * 1024 * 1024
    first_secrets: Mapping[str, str] = field(default_factory=lambda: {"secret": "Bearer "})
    security: SecurityScheme = AUTHORIZATION
    endpoint: Literal["webhook", "tracking_api"] = "webhook"
    has_audiences: bool = False

    @property
    def spelling(self) -> str:
        """The name under which the catalog spells event types for it."""
        return self.reads or self.name
