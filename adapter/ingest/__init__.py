"""The path of a webhook: verified, read, recorded, enqueued; and what could not be read or mapped, kept."""
