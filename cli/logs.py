"""Log lines on stderr: for people on a terminal, else one JSON object a line. No local variables, no personal data."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

# They tell of each call: with the account that is paid in its address, and from "debug" on with the whole body.
_TELL_OF_CALLS = ("stripe", "httpx", "httpcore")


def configure(level: str) -> None:
    """Send the log lines of this process, ours and the libraries', to stderr, from `level` on."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _TELL_OF_CALLS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers() -> list[Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    # Local variables hold what must not be logged: bodies, keys, people.
    told = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(told), structlog.processors.JSONRenderer(default=_plain)]


def _plain(value: Any) -> str:
    return str(value)
