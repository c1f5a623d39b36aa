"""The path of a webhook: verify, read, record, enqueue; and the lists of what could not be read or mapped."""
