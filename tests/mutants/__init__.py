"""Mutants: faults that are planted into the engine one by one, and what the engine's tests say to each."""
