"""Runs the operator's commands against a test's world."""

from __future__ import annotations

import argparse

from freshgate.settings import Settings
from tests.engine.world import PII_KEY, World
from workers import commands


class Operator:
    """Runs `python -m workers` commands at the world's time; returns the exit code."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._settings = Settings(redis_url=url, pii_key=PII_KEY.decode())

    def run(self, *words: str) -> int:
        parser = argparse.ArgumentParser()
        commands.add_commands(parser.add_subparsers(dest="command"))
        return commands.run(self._settings, parser.parse_args(words), self._world.now)
