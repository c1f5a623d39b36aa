"""A local stand-in for the ESPs: `make run` sends to it, tests ask it for faults, an outbox page shows the mails."""
