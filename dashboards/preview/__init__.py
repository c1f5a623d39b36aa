"""Pictures of the boards and Prometheus on this machine: what draws, apart from what generates."""
