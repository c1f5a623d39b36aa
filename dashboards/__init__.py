"""What an operator sees: Grafana boards, Prometheus rules and alerts; `python -m dashboards.generate` writes them."""
