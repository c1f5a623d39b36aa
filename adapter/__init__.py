"""Process 1: a CDP's webhook comes in, is verified, read, recorded and enqueued."""

# The same as in pyproject.toml; a test compares them.
VERSION = "0.1.0"
