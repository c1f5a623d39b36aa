"""Profiles: events that only repeat what a CDP knows about a person."""

from __future__ import annotations

from freshgate.events import Event


def has_content(profile: Event) -> bool:
    """Whether there is anything to record: a field, an address, or the link of a user id and an anonymous id."""
    return bool(profile.fields or profile.email or (profile.user_id and profile.anonymous_id))
