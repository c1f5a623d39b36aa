"""What is measured and said: structured logs, metrics, traces."""
