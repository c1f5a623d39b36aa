"""What `make run` starts on one machine: the launcher, its processes, the embedded Valkey, an example to paste."""
