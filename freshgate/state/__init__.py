"""What Redis holds: entities made of registers that converge, timers, claims and trails.

The `.lua` files are one function library; everything that writes goes through it.
"""
