"""The boards, one file each. `BOARDS` lists them in the order of their links."""

from __future__ import annotations

from dashboards.boards.base import Board
from dashboards.boards.event_to_email import BOARD as EVENT_TO_EMAIL
from dashboards.boards.queues import BOARD as QUEUES
from dashboards.boards.sources import BOARD as SOURCES
from dashboards.boards.triggers import BOARD as TRIGGERS

BOARDS: tuple[Board, ...] = (EVENT_TO_EMAIL, QUEUES, SOURCES, TRIGGERS)
