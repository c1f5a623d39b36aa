"""Process 2: a job or a timer comes in, the gate decides, and a mail leaves, or the reason why not is recorded."""
