"""What all processes share: the catalog's vocabulary, settings, errors, state, the queue, telemetry."""
