"""One stream of log lines for our events and every library's: JSON on a pipe, readable on a terminal."""

import contextlib
import io
import logging
import logging.handlers
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from daemons.errors import ConfigError
from daemons.lines import harmless, presentable, without_secrets

log = structlog.get_logger()

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
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_renderers(target), foreign_pre_chain=_foreign()))
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


def data_logger(name: str) -> Any:
    """For lines of level info that are data, which somebody counts on: they are written at every level.

    They go to the handlers of the root by way of a logger that has a level of its own, so that the root's does not count.
    """
    logging.getLogger(name).setLevel(logging.INFO)
    return structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), logger_factory_args=(name,)
    )


@contextlib.contextmanager
def hear_lines(hear: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile every line, as JSON, is heard too, in whatever thread it is written. `hear` must neither wait nor log."""
    root = logging.getLogger()
    handler = _Heard(hear)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_JSON, foreign_pre_chain=_foreign()))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextlib.contextmanager
def written_to(path: Path, *, most_bytes: int, keep: int) -> Iterator[None]:
    """Meanwhile every line, as JSON, is in that file too. Before it gets larger than `most_bytes` another is begun; `keep` older
    ones are kept. Raises ConfigError where it cannot be written at the beginning; later that stops nobody, and is told once.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _File(path, maxBytes=most_bytes, backupCount=keep, encoding="utf-8")
    except OSError as err:
        raise ConfigError(
            f"the log file {path} cannot be written: {err.strerror or err}",
            hint="give headnode's user leave to write there, or correct log.file.directory",
        ) from err
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_JSON, foreign_pre_chain=_foreign()))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _File(logging.handlers.RotatingFileHandler):
    _fails = False

    def emit(self, record: logging.LogRecord) -> None:
        failed_before, self._fails = self._fails, False
        super().emit(record)
        if self._fails and not failed_before:
            log.warning("logfile.not_written", path=self.baseFilename, error=str(self._error))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  the standard library's name and argument
        self._fails, self._error = True, sys.exc_info()[1]


class _Heard(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        """As every handler of the standard library: a line that cannot be written is a word on standard error, and no more."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a value that has no text, a library's line whose arguments do not fit
            self.handleError(record)
            return
        self._hear(line)


def _shared() -> list[Processor]:
    """What every line of ours goes through, once."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _foreign() -> list[Processor]:
    """What a library's line goes through, for each place that it is written to: it has the same time in all of them."""
    return [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, _stamp]


def _stamp(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    written = datetime.fromtimestamp(line["_record"].created, UTC)
    line["timestamp"] = f"{written.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    return line


def _renderers(target: TextIO) -> list[Processor]:
    if target.isatty():
        return [_STRIP, presentable, _on_terminal, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
    return list(_JSON)


def _on_terminal(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Job names and the like are others' words: as JSON they are escaped, and so they are here."""
    return {name: harmless(value) if isinstance(value, str) else value for name, value in line.items()}


def _traceback(to: TextIO, exc_info: ExcInfo) -> None:
    found = io.StringIO()
    structlog.dev.plain_traceback(found, exc_info)
    to.write("\n".join(map(harmless, without_secrets(found.getvalue()).split("\n"))))
