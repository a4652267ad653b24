"""Metrics as log lines: CloudWatch's embedded metric format, one line a minute for each set of dimensions, if it is configured.

Like a log line, a measure can be noted anywhere and goes nowhere where nobody asked for it. CloudWatch makes metrics of the lines
by itself, whoever brings them there: the shipper or the CloudWatch agent. `daemons.events` lists the metrics.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemons.config import Config
from daemons.events import METRICS, Metric, Sums, find_event
from daemons.logs import data_logger

log = data_logger("headnode.metrics")

MOST_VALUES = 50  # of one metric in one line; the format allows 100
MOST_SERIES = 1_000  # of dimension values that are kept until the next line

_Key = tuple[tuple[str, str], ...]  # dimensions besides the cluster
_BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}


@dataclass(slots=True, kw_only=True)
class Meter:
    """Keeps what is noted until it is told. May be noted to from any thread."""

    cluster: str
    daemon: str
    namespace: str
    clock_ms: Callable[[], int]
    _noted: dict[_Key, dict[str, list[float]]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def note(self, name: str, value: float, by: Mapping[str, str]) -> None:
        """`by` has a value for each dimension that the catalogue names for this metric."""
        metric = _BY_NAME[name]
        key = tuple((dimension, by[dimension]) for dimension in metric.by)
        with self._lock:
            if key not in self._noted and len(self._noted) >= MOST_SERIES:
                return
            values = self._noted.setdefault(key, {}).setdefault(name, [])
            if metric.sums is Sums.COUNT and values:
                values[0] += value
            elif metric.sums is Sums.GAUGE:
                values[:] = [value]
            else:
                values.append(value)

    def tell(self) -> None:
        """Log what has been noted since the last time, and forget it. What was not noted is not told: silence is no zero."""
        with self._lock:
            noted, self._noted = self._noted, {}
        for key, series in noted.items():
            for values in _lines(series):
                log.info("metrics.measured", **self._line(dict(key), values))

    def _line(self, by: Mapping[str, str], values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        metrics = [{"Name": name, "Unit": _BY_NAME[name].unit} for name in values]
        directive = {"Namespace": self.namespace, "Dimensions": [["cluster", *by]], "Metrics": metrics}
        return {
            "_aws": {"Timestamp": self.clock_ms(), "CloudWatchMetrics": [directive]},
            "cluster": self.cluster,
            "daemon": self.daemon,
            **by,
            **{name: each[0] if len(each) == 1 else list(each) for name, each in values.items()},
        }


def _lines(series: Mapping[str, Sequence[float]]) -> Iterator[Mapping[str, Sequence[float]]]:
    """As many lines as the longest list of values takes."""
    for begin in range(0, max(map(len, series.values())), MOST_VALUES):
        yield {name: values[begin : begin + MOST_VALUES] for name, values in series.items() if len(values) > begin}


_meters: list[Meter] = []  # of this process, as its loggers are


def note(name: str, value: float = 1.0, **by: str) -> None:
    """Measured just now. A count is summed up, of a gauge the last counts, of times all do."""
    for meter in _meters:
        meter.note(name, value, by)


@contextlib.contextmanager
def metered_by(meter: Meter) -> Iterator[None]:
    """Meanwhile what is noted is kept there, and warnings and errors of ours are counted. At the end it is told."""
    counting, root = _Counting(), logging.getLogger()
    _meters.append(meter)
    root.addHandler(counting)
    try:
        yield
    finally:
        root.removeHandler(counting)
        meter.tell()
        _meters.remove(meter)


@contextlib.asynccontextmanager
async def metered(config: Config, daemon: str, *, is_shadow: bool = False) -> AsyncIterator[None]:
    """Meanwhile a service's metrics are lines of its log, if the configuration says so. Not a shadow's: it would count twice."""
    chosen = config.log.metrics
    if chosen is None or is_shadow:
        yield
        return
    meter = Meter(
        cluster=config.cluster,
        daemon=daemon,
        namespace=chosen.namespace,
        clock_ms=lambda: time.time_ns() // 1_000_000,
    )
    with metered_by(meter):
        telling = asyncio.create_task(_tell_always(meter, chosen.period_s))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def _tell_always(meter: Meter, period_s: float) -> None:
    while True:
        await asyncio.sleep(period_s)
        meter.tell()


class _Counting(logging.Handler):
    """Counts our warnings and errors by their event."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        name = record.msg.get("event") if isinstance(record.msg, dict) else None
        if isinstance(name, str) and find_event(name) is not None:
            note("Problems", problem=name)
