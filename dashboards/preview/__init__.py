"""Prometheus and Alertmanager on this machine. Nothing here is needed to generate the boards."""
