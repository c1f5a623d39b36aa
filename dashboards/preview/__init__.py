"""Prometheus on this machine, and pictures of the boards. Nothing here is needed to generate the boards."""
