"""Commands for who maps events and writes triggers: read, events, check, new."""
