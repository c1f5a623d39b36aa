"""Process 1: a CDP's webhook comes in, is verified, read, recorded and enqueued."""
