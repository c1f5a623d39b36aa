"""The newest exemplar of each bucket, from processes whose metrics another one serves: prometheus_client drops them.

`metric_files.py` calls this. A process writes its own file at most once a second, and its supervisor reads all of them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client import values as metric_values
from prometheus_client.samples import Exemplar, Sample

WRITE_INTERVAL_S = 1.0
Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of a sample, and its labels."""


def file_of(folder: Path, pid: int) -> Path:
    return folder / f"exemplars_{pid}.json"


class ExemplarFile:
    """What this process has observed, in a file that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._newest: dict[Series, Exemplar] = {}
        self._written_at = float("-inf")
        self._lock = threading.Lock()

    def note(self, series: Series, exemplar: Exemplar) -> None:
        with self._lock:
            self._newest[series] = exemplar
            now = time.monotonic()
            if now - self._written_at < WRITE_INTERVAL_S:
                return
            self._written_at = now
            rows = [
                [name, dict(labels), dict(newest.labels), newest.value, newest.timestamp]
                for (name, labels), newest in self._newest.items()
            ]
            # A full disk costs the links to traces only.
            with suppress(OSError):
                draft = self._file.with_suffix(".draft")
                draft.write_text(json.dumps(rows), encoding="utf-8")
                draft.replace(self._file)


def keep(folder: Path) -> None:
    """Makes this process keep the exemplars of the metrics that it writes into files of this folder."""
    own = ExemplarFile(file_of(folder, os.getpid()))

    def set_exemplar(value: Any, exemplar: Exemplar) -> None:
        _, _, name, label_names, label_values, *_ = value._params
        own.note((name, frozenset(zip(label_names, map(str, label_values), strict=True))), exemplar)

    value_class: Any = metric_values.ValueClass
    # A value in this process' own memory keeps its exemplar itself.
    if value_class._multiprocess:
        value_class.set_exemplar = set_exemplar


def attach(metrics: Iterable[Metric], folder: Path) -> list[Metric]:
    """The metrics with the newest exemplar that any process of this folder has of each sample."""
    newest = _read(folder)
    collected = list(metrics)
    for metric in collected if newest else ():
        metric.samples = [_with_exemplar(sample, newest) for sample in metric.samples]
    return collected


def _with_exemplar(sample: Sample, newest: Mapping[Series, Exemplar]) -> Sample:
    exemplar = newest.get((sample.name, frozenset(sample.labels.items())))
    return sample if exemplar is None else sample._replace(exemplar=exemplar)


def _read(folder: Path) -> dict[Series, Exemplar]:
    newest: dict[Series, Exemplar] = {}
    for file in folder.glob("exemplars_*.json"):
        with suppress(OSError, ValueError, TypeError):
            for name, labels, trace, value, at in json.loads(file.read_text(encoding="utf-8")):
                series = (name, frozenset(labels.items()))
                if series not in newest or at > (newest[series].timestamp or 0):
                    newest[series] = Exemplar(trace, value, at)
    return newest
