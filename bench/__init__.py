"""Measures speed and size, on any machine: `make bench`."""
