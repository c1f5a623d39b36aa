"""Commands that post events to a receiver: sign, replay, traffic."""
