"""An operator who runs `python -m workers` commands beside a world of the engine's tests, at its time."""

from __future__ import annotations

import argparse

from freshgate.settings import Settings
from tests.engine.world import PII_KEY, World
from workers import commands


class Operator:
    """Runs the commands as the command line parses them, on the Redis of that URL."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._settings = Settings(redis_url=url, pii_key=PII_KEY.decode())

    def run(self, *words: str) -> int:
        """The exit code of `python -m workers <words>`."""
        parser = argparse.ArgumentParser()
        commands.add_commands(parser.add_subparsers(dest="command"))
        return commands.run(self._settings, parser.parse_args(words), self._world.now)
