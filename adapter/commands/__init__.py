"""The commands, a module each: HELP, `add` for its arguments, and `run`, which returns the exit code.

`adapter/__main__.py` lists them. Commands call the other rooms; no room calls a command.
"""
