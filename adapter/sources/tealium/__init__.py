"""Tealium EventStream and AudienceStream."""
