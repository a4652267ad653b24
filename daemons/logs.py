"""One stream of log lines for our events and every library's: JSON on a pipe, readable on a terminal."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

import structlog
from structlog.typing import Processor

from daemons.lines import presentable

_STRIP: Processor = structlog.stdlib.ProcessorFormatter.remove_processors_meta
_JSON: tuple[Processor, ...] = (
    _STRIP,
    # Without local variables: a configuration or a credential may be among them.
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20, use_rich=False)
    ),
    presentable,
    structlog.processors.JSONRenderer(default=str),
)


def configure_logs(*, level: str, stream: TextIO | None = None, **bound: str) -> None:
    """Send all logs to `stream` (stdout unless told) from `level` up, each line carrying `bound`. May be called again.

    Libraries log through the standard library; their lines get the same form. botocore's debug lines, which hold whole
    requests, are kept out at every level.
    """
    target = stream or sys.stdout
    shared = _shared()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_renderers(target), foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


def set_level(level: str) -> None:
    """From now on lines from `level` up are written, by loggers that are there too. For after `configure_logs`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(**{**structlog.get_config(), "wrapper_class": structlog.make_filtering_bound_logger(number)})
    logging.getLogger().setLevel(number)
    for noisy in ("botocore", "aiobotocore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.INFO, number))


@contextlib.contextmanager
def hear_lines(hear: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile every line, as JSON, is heard too, in whatever thread it is written. `hear` must neither wait nor log."""
    root = logging.getLogger()
    handler = _Heard(hear)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_JSON, foreign_pre_chain=_shared()))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _Heard(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(self.format(record))


def _shared() -> list[Processor]:
    """What every line goes through, ours and libraries' alike."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderers(target: TextIO) -> list[Processor]:
    if target.isatty():
        return [_STRIP, presentable, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return list(_JSON)
