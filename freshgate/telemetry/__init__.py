"""Structured logs, metrics and traces, for all processes."""
