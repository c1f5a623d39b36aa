"""Commands that look into a running system: why, quarantine, unmapped, settings."""
