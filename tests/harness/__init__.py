"""Helpers of tests: `system.py` runs the whole product as its user does."""
