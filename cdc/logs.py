"""Log lines with structlog: one JSON object a line on standard error, or readable ones on a terminal. Guards I9.

Every line has event, level and ts, and role and channel where they were bound. Secrets known from the configuration are
replaced by *** in whatever is about to be written, as the last line of defence; identical lines are written once in 30 s.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote, quote_plus

import structlog

EventDict: TypeAlias = MutableMapping[str, Any]

REPEAT_SECONDS: Final = 30.0
_REMEMBERED_LINES: Final = 500
_SHORTEST_SECRET: Final = 4  # a shorter one would blacken half of every line
_ALWAYS_FRESH: Final = frozenset({"ts", "seconds", "attempt"})
_ALIKE: Final = "alike"
_OTHERS: Final = (
    "uvicorn", "uvicorn.error", "uvicorn.access", "sqlalchemy", "pymysqlreplication", "asyncio", "redis", "py.warnings",
)  # fmt: skip


class SecretsFilter:
    """Replaces known secrets in every value of a line, their URL-quoted forms too."""

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def know(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        self._secrets = tuple(sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True))

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "***")
        return text

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        return {key: self._cleaned(value) for key, value in event.items()} if self._secrets else event

    def _cleaned(self, value: object) -> object:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {key: self._cleaned(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._cleaned(inner) for inner in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.clean(str(value))


class Repeats:
    """Drops a line that was written less than 30 s ago, and says afterwards how many were dropped.

    Lines of one event that say the same `alike` count as the same line; it is not written.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        now = self._clock()
        told = event
        if _ALIKE in event:
            told = {"event": event["event"], _ALIKE: event.pop(_ALIKE)}
        line = repr(sorted((key, str(value)) for key, value in told.items() if key not in _ALWAYS_FRESH))
        at, dropped = self._seen.get(line, (now - REPEAT_SECONDS, 0))
        if now - at < REPEAT_SECONDS:
            self._seen[line] = (at, dropped + 1)
            raise structlog.DropEvent
        self._seen[line] = (now, 0)
        self._seen.move_to_end(line)
        while len(self._seen) > _REMEMBERED_LINES:
            self._seen.popitem(last=False)
        if dropped:
            event["repeated"] = dropped
        return event


SECRETS: Final = SecretsFilter()  # what this process knows; one per process, as the log is


def configure(*, debug: bool = False, secrets: Iterable[str] = (), **bound: str) -> None:
    """Set up logging for this process; `bound` (role, channel) stands in every line. May be called again."""
    SECRETS.know(secrets)
    level = logging.DEBUG if debug else logging.INFO
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
    readable = sys.stderr.isatty()
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not readable, key="ts"),
        structlog.processors.format_exc_info,
        SECRETS,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer(timestamp_key="ts", pad_event_to=24) if readable else _json_renderer()
    structlog.configure(
        processors=[*before, Repeats(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StderrFactory(),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(debug=debug)


def _json_renderer() -> structlog.processors.JSONRenderer:
    return structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


class _StderrLogger:
    """Writes one line with one system call, so that lines of several processes do not mix; never raises into the work."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        try:
            os.write(2, (message + "\n").encode(errors="backslashreplace"))
        except OSError:
            return  # nobody reads: that must not stop replication

    log = debug = info = warning = error = critical = exception = fatal = msg


class _StderrFactory:
    def __call__(self, *_: object) -> _StderrLogger:
        return _StderrLogger()


class _Router(logging.Handler):
    """Standard logging of libraries, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        note = getattr(structlog.get_logger(), level if level in {"debug", "info", "warning", "error"} else "error")
        note("library", logger=record.name, message=record.getMessage())


def _route_standard_logging(*, debug: bool) -> None:
    """Warnings and errors of libraries come through; what they say below that is theirs, and may hold values (I9)."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [_Router()]
    root.setLevel(logging.WARNING)
    for name in _OTHERS:
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
        library.setLevel(logging.WARNING if debug else logging.ERROR)
