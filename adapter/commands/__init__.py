"""The commands, a file each: `add` declares one's words and help, `run` does it and returns the exit code.

`adapter/__main__.py` lists them. They ask the engine; the engine never asks them.
"""
