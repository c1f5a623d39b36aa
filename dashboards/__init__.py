"""Grafana boards, Prometheus rules and alerts, and the same for DataDog. `python -m dashboards.generate` writes all."""
