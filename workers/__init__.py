"""Process 2: a job or a timer comes in, is gated, and a mail goes out, or the reason why not."""
