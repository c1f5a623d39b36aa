"""A local stand-in for the ESPs: `make run` sends to it, tests inject faults, an outbox page shows the mails."""
