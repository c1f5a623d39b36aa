"""A whole system on one machine, for `make run`: the launcher, its processes, the embedded Valkey, an example."""
