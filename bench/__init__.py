"""What measures speed and size, runnable by anybody: `make bench`."""
